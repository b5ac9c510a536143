"""The corpus score as a test: every category, every row."""

import json
import subprocess
import sys

import pytest

from corpus_score import CATEGORIES, __file__ as program


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_row_of_the_corpus_is_answered_as_its_key_says(corpus, category):
    # In a process of its own, so that two files are judged at a time.
    done = subprocess.run([sys.executable, program, "--json", "--category", category], capture_output=True, text=True)
    answer = json.loads(done.stdout)
    print("\n".join(answer["lines"]))
    failures = [f"{v['outcome']} {v['path']}: {'; '.join(v['reasons'][:3])[:300]}" for v in answer["verdicts"] if not v["ok"]]
    assert answer["verdicts"], "no rows"
    assert not failures, "\n".join([*answer["lines"], *failures[:40]])
