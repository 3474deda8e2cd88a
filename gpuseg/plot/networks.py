"""How the training of a network went."""

from __future__ import annotations

import math

from .figures import finished, new_figure

__all__ = ["show_history"]

_TITLES = {"loss": "loss", "accuracy": "pixels right", "mae": "mean absolute error", "dice": "Dice"}


def show_history(history, *, measures=("loss", "dice"), figsize: tuple[float, float] | None = None):
    """Draw what `gpuseg.unet.train` measured after each epoch.

    Where the curve of training goes on to improve and that of validation does not, the network
    learns its few pictures by heart (it overfits); the epoch that was best on validation is marked.

    Parameters
    ----------
    history : pandas.DataFrame
        With a row an epoch and the columns ``epoch``, the measures, and, if there are any, the same
        with ``val_`` before.
    measures : sequence of {'loss', 'accuracy', 'mae', 'dice'}, optional
        A panel each.
    figsize : tuple of float, optional
        Width and height in inches.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError, ValueError
        `history` is no such table, or a measure is none of these.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> import pandas
    >>> from gpuseg.plot import show_history
    >>> table = pandas.DataFrame({"epoch": [1, 2], "loss": [1.0, 0.4], "val_loss": [1.1, 0.9]})
    >>> [axes.get_ylabel() for axes in show_history(table, measures=["loss"]).axes]
    ['loss']
    """
    import pandas

    if not isinstance(history, pandas.DataFrame):
        raise TypeError(f"history must be a pandas.DataFrame, got {type(history).__name__}")
    measures = [measures] if isinstance(measures, str) else list(measures)
    missing = [name for name in ("epoch", *measures) if name not in history or history.empty]
    if missing or not measures or not set(measures) <= _TITLES.keys():
        raise ValueError(
            f"history must have a row an epoch, and epoch and measures among {sorted(_TITLES)}; "
            f"it has the columns {list(history.columns)} and measures are {measures}"
        )
    figure = new_figure(figsize, (5.5 * len(measures), 4))
    panels = figure.subplots(1, len(measures), squeeze=False)[0]
    for ax, name in zip(panels, measures):
        ax.plot(history["epoch"], history[name], label="training")
        other = f"val_{name}"
        if other in history:
            ax.plot(history["epoch"], history[other], label="validation")
            values = history[other]
            best = values.idxmin() if name in {"loss", "mae"} else values.idxmax()
            if math.isfinite(values[best]):
                epoch = history["epoch"][best]
                ax.axvline(epoch, color="0.6", linestyle=":", linewidth=1)
                ax.plot([epoch], [values[best]], "o", color="C1",
                        label=f"best: {values[best]:.4g} (epoch {epoch:.0f})")  # fmt: skip
        ax.set_xlabel("epoch")
        ax.set_ylabel(_TITLES[name])
        ax.grid(visible=True, alpha=0.3)
        ax.legend()
    return finished(figure)
