"""A search as a tutorial writes it: Optuna, a Dataset and a DataLoader, `nn.LSTM`, one process. A peer of `search.py`.

    python scripts/bench/tutorial.py ETTh1.csv trials.json EPOCHS PATCH [THREADS]

trials.json: a list of {"hidden_size": ..., "learning_rate": ...}. PATCH: rows that the LSTM reads at a time. Prints
{"test_mse": ...} of the best trial's weights.
"""

import json
import sys
from pathlib import Path

import optuna
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

WINDOW, HORIZON, BATCH = 96, 24, 64


class WindowDataset(Dataset):
    def __init__(self, values, start, end, window, horizon):
        self.values, self.start, self.window, self.horizon = values, start, window, horizon
        self.count = end - start - window - horizon + 1

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        at = self.start + index
        x = self.values[at : at + self.window].unsqueeze(-1)
        y = self.values[at + self.window : at + self.window + self.horizon]
        return x, y


class Forecaster(nn.Module):
    def __init__(self, hidden_size, horizon, patch=1, num_layers=1, dropout=0.0):
        super().__init__()
        self.patch = patch
        self.lstm = nn.LSTM(patch, hidden_size, num_layers, batch_first=True, dropout=dropout)
        self.head = nn.Linear(hidden_size, horizon)

    def forward(self, x):
        out, _ = self.lstm(x.reshape(len(x), -1, self.patch))
        return self.head(out[:, -1])


def train_epoch(model, optimizer, loader):
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()


def evaluate(model, loader):
    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for x, y in loader:
            total += nn.functional.mse_loss(model(x), y, reduction="sum").item()
            count += y.numel()
    return total / count


def main():
    path, trials, epochs, patch = sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), *map(int, sys.argv[3:5])
    if len(sys.argv) > 5:
        torch.set_num_threads(int(sys.argv[5]))
    series = pd.read_csv(path)["OT"]
    train = series[:8640]
    values = torch.tensor(((series - train.mean()) / train.std(ddof=0)).values, dtype=torch.float32)
    sizes = WINDOW, HORIZON
    train_loader = DataLoader(WindowDataset(values, 0, 8640, *sizes), batch_size=BATCH, shuffle=True)
    valid_loader = DataLoader(WindowDataset(values, 8640 - WINDOW, 11520, *sizes), batch_size=BATCH)
    test_loader = DataLoader(WindowDataset(values, 11520 - WINDOW, 14400, *sizes), batch_size=BATCH)
    best = {"mse": float("inf"), "model": None}

    def objective(trial):
        model = Forecaster(trial.suggest_int("hidden_size", 32, 80, step=16), HORIZON, patch)
        lr = trial.suggest_float("learning_rate", 3e-4, 3e-3, log=True)
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
        lowest = float("inf")
        for epoch in range(epochs):
            train_epoch(model, optimizer, train_loader)
            mse = evaluate(model, valid_loader)
            lowest = min(lowest, mse)
            if mse < best["mse"]:
                best["mse"], best["model"] = mse, {k: v.clone() for k, v in model.state_dict().items()}
            trial.report(mse, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return lowest

    study = optuna.create_study(storage="sqlite:///tutorial.db", pruner=optuna.pruners.NopPruner())
    for params in trials:
        study.enqueue_trial(params)
    study.optimize(objective, n_trials=len(trials))
    model = Forecaster(study.best_params["hidden_size"], HORIZON, patch)
    model.load_state_dict(best["model"])
    print(json.dumps({"test_mse": evaluate(model, test_loader)}))


if __name__ == "__main__":
    main()
