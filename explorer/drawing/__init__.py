"""Disconnectivity graphs and what is drawn beside them.

`disconnectivity`, `superbasins`, `arrangement` and `trimming` are graph work and know nothing of
plotting; `charting` and `colouring` turn a landscape into such a tree; `plots` (plotly), `pictures`
(SVG, PDF, PNG without a browser), `thumbnail` and `scatter` draw; `report` writes one page that
works offline, with `pagedata`, `animation` and the files in `page/`.
"""
