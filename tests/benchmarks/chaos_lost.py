"""`chaos_lost`, `chaos_repeated`: a short storm of kills over everything, judged from the input files.

The long one, 60 kills over 2,000 documents, is `make chaos`; this one shows that its figures still come out.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    script = Path(__file__).parents[1] / "chaos" / "run.py"
    sys.argv = [str(script), "--kills", "12", "--documents", "200"]
    runpy.run_path(str(script), run_name="__main__")
