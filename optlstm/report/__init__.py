"""A study to look at: one HTML file, pictures for papers, and what optuna-dashboard shows of its best trials.

view       what is read of a study, once
words      the summary in sentences
curves, searched, family, outcome, compared    figures, as plain marks
plotly, png    the two ways marks are drawn
page       the HTML file
publish    pictures and a note for optuna-dashboard
"""
