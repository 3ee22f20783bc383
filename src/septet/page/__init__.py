"""The report page: `report.html` of a run, one file with its style and drawings inside, that loads nothing from anywhere.

`report.write(run)` reads what the run holds and writes the page. `html` builds tags that escape their text, `charts` draws SVG, `words` says
figures, `sections` and `evidence` are the parts of the page. Left out on purpose: scripts. Every drawing is still; hovering shows its figures.
"""
