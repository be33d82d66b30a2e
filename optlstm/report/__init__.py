"""A study to look at: one HTML file, pictures for papers, and what optuna-dashboard shows of its best trials.

view            what is read of a study, once
summary_text    the summary in sentences; command: the one that repeats the study
figures/        every figure, as plain marks on axes
plotly, png     the two ways marks are drawn
html            the HTML file
dashboard_artifacts    pictures and a note for optuna-dashboard
"""
