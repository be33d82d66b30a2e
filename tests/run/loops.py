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

# Three kinds, a trial each: mixed precision with a schedule and averaged weights; a GAN, two models and optimizers; a
# classifier that stops early, on a DataLoader.
MANY = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

X = torch.linspace(-1, 1, 40)[:, None]


def objective(trial):
    rate = trial.suggest_float("rate", 1e-2, 1e-1, log=True)
    return [mixed_precision, gan, classifier][trial.number % 3](trial, rate)


def mixed_precision(trial, rate):
    model = nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=6)
    scaler, averaged = torch.amp.GradScaler("cpu"), torch.optim.swa_utils.AveragedModel(model)
    things = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "scaler": scaler, "averaged": averaged}
    for epoch in range(trial.track(**things), 5):
        for rows in torch.randperm(40).split(10):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = nn.functional.mse_loss(model(X[rows]), X[rows] ** 2)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        scheduler.step()
        averaged.update_parameters(model)
        with torch.no_grad():
            trial.report(nn.functional.mse_loss(averaged(X), X**2), epoch)
        if trial.should_prune():
            return


def gan(trial, rate):
    generator, critic = nn.Linear(2, 1), nn.Sequential(nn.Linear(1, 4), nn.ReLU(), nn.Dropout(0.2), nn.Linear(4, 1))
    of_generator = torch.optim.Adam(generator.parameters(), lr=rate, betas=(0.5, 0.9))
    of_critic = torch.optim.RMSprop(critic.parameters(), lr=rate)
    noise, history = torch.Generator().manual_seed(trial.number), []
    first = trial.track(
        0, generator=generator, critic=critic, g=of_generator, c=of_critic, noise=noise, history=history
    )
    for epoch in range(first, 4):
        for real in X[torch.randperm(40)].split(20):
            fake = generator(torch.randn(20, 2, generator=noise))
            of_critic.zero_grad()
            (nn.functional.softplus(-critic(real)) + nn.functional.softplus(critic(fake.detach()))).mean().backward()
            of_critic.step()
            of_generator.zero_grad()
            nn.functional.softplus(-critic(fake)).mean().backward()
            of_generator.step()
        history.append(fake.mean().item())
        trial.report(abs(sum(history)), epoch)
        if trial.should_prune():
            return


def classifier(trial, rate):
    model = nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
    y, best = (X[:, 0] * 1.4 + 1.5).long(), {"loss": float("inf"), "waited": 0}
    loader = DataLoader(TensorDataset(X, y), batch_size=8, shuffle=True)
    for epoch in range(trial.track(model=model, optimizer=optimizer, scheduler=scheduler, best=best), 5):
        model.train()
        for batch, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(batch), labels).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            loss = nn.functional.cross_entropy(model(X), y).item()
        scheduler.step(loss)
        best["waited"] = 0 if loss < best["loss"] else best["waited"] + 1
        best["loss"] = min(best["loss"], loss)
        trial.report(loss, epoch)
        if trial.should_prune() or best["waited"] > 1:
            return
"""
