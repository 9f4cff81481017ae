"""Pages to look at: one sample (report.html) or many (index.html); they open from disk, without server or network.

Data is made here in Python and drawn by the plain scripts in `assets`; nothing is built, nothing is fetched.
"""
