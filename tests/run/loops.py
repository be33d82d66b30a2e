"""Training loops as people write them, for the tests of custom objectives."""

# Optuna's own form: conditions, two optimizers, epochs from 0, state that lies in the loop's own variables.
OPTUNA = """
import optuna
import torch
from torch import nn

from optlstm import track

X = torch.linspace(-1, 1, 40)[:, None]
Y = X**2


def objective(trial):
    hidden = trial.suggest_int("hidden", 2, 8)
    model = nn.Sequential(nn.Linear(1, hidden), nn.Tanh(), nn.Dropout(0.1), nn.Linear(hidden, 1))
    kind = trial.suggest_categorical("optimizer", ["SGD", "Adam", None])
    options = {"momentum": trial.suggest_float("momentum", 0, 0.9)} if kind == "SGD" else {}
    rate = trial.suggest_float("lr", 1e-3, 1e-1, log=True)
    optimizer = getattr(torch.optim, kind or "AdamW")(model.parameters(), lr=rate, **options)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    print("trial", trial.number, "of", hidden, "units")
    for epoch in range(track(trial, 0, model=model, optimizer=optimizer, scheduler=scheduler), 4):
        for rows in torch.randperm(40).split(10):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(X[rows]), Y[rows]).backward()
            optimizer.step()
        scheduler.step()
        with torch.no_grad():
            loss = nn.functional.mse_loss(model.eval()(X), Y)
        model.train()
        trial.report(loss, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return loss.item()
"""
