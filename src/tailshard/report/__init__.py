"""A search as a physicist reads it: one page, and its histograms as ROOT and UHI files.

Reading (findings), numbers into words (wording, sections), spectra and figures (spectra, distributions,
plots, canvas) and writing (export, page) are apart; `page.report` walks through them.
"""
