"""The README says what is."""

import re

import readme


def test_the_table_of_functions_is_current():
    assert readme.updated() == readme.README.read_text(), "run: python tests/readme.py"


def test_the_first_script_runs(capsys):
    text = readme.README.read_text()
    (script,) = re.findall(r"## First script\n\n```python\n(.*?)```", text, re.DOTALL)
    exec(compile(script, "README.md", "exec"), {})
    assert "apply_hysteresis_threshold" in capsys.readouterr().out
