"""An LSTM with attention measures waves."""

import torch
from torch import nn

EPOCHS, STEPS = 8, 40


def make_data(count):
    """Noisy waves [count, steps, 1] and the length of each [count, 1], in steps, divided by ten."""
    length, phase = 5 + 15 * torch.rand(count, 1), 6.28 * torch.rand(count, 1)
    waves = torch.sin(6.28 / length * torch.arange(STEPS) + phase) + 0.2 * torch.randn(count, STEPS)
    return waves[:, :, None], length / 10


class Attention(nn.Module):
    """An LSTM, and a weighted mean of its outputs."""

    def __init__(self, hidden, dropout):
        super().__init__()
        self.lstm = nn.LSTM(1, hidden, batch_first=True)
        self.score = nn.Linear(hidden, 1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x):
        out, _ = self.lstm(x)
        weights = self.score(out).softmax(dim=1)
        return self.head(self.dropout((weights * out).sum(dim=1)))


def objective(trial):
    hidden = trial.suggest_int("hidden", 8, 64, log=True)
    dropout = trial.suggest_float("dropout", 0.0, 0.5)
    lr = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
    torch.manual_seed(0)
    x, y = make_data(512)
    x_valid, y_valid = make_data(256)
    model = Attention(hidden, dropout)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for epoch in range(trial.track(0, model=model, optimizer=optimizer, scheduler=scheduler), EPOCHS):
        model.train()
        for rows in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
        scheduler.step()
        model.eval()
        with torch.no_grad():
            error = nn.functional.mse_loss(model(x_valid), y_valid).item()
        print(f"epoch {epoch}: {error:.4f}")
        trial.report(error, epoch)
        if trial.should_prune():
            break
    return error
