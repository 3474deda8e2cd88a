"""The README says what is."""

import re

import readme


def test_the_table_of_functions_is_current():
    assert readme.updated() == readme.README.read_text(), "run: python tests/readme.py"


def test_the_scripts_run(capsys):
    text = readme.README.read_text()
    part = text[text.index("## First script") : text.index("## Which device")]
    scripts = re.findall(r"```python\n(.*?)```", part, re.DOTALL)
    assert len(scripts) == 3
    names = {}
    for script in scripts:
        exec(compile(script, "README.md", "exec"), names)
    assert "apply_hysteresis_threshold" in capsys.readouterr().out
    assert names["no_skin"].shape == names["image"].shape
    assert 0.1 < names["coins_found"].mean() < 0.6
