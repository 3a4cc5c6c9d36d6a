"""After training: probabilities that mean what they say, and thresholds that fit each class.

Both are fitted on validation rows. The calibration is folded into the last layer, so that `sigmoid(logits)` is
calibrated with no extra step; thresholds are tuned after it and saved in the config.
"""

import numpy as np
import torch

# A class with fewer positives than this in validation keeps what it has: a fit would follow single rows.
MINIMUM_SUPPORT = 10


def fit_calibration(
    logits: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Per-class scale and bias that minimise the weighted loss of `sigmoid(scale × logit + bias)` (Platt, 1999).

    Args:
        logits: [N, C]. targets: [N, C], 0 or 1. weight: [N].

    Returns:
        scale [C], above 0, and bias [C]; 1 and 0 for a class with too few rows.
    """
    logits, targets = logits.double(), targets.double()
    weight = torch.ones(len(logits), dtype=torch.float64) if weight is None else weight.double()
    classes = logits.shape[1]
    log_scale = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_scale, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        scaled = logits * log_scale.exp() + bias
        loss = torch.nn.functional.binary_cross_entropy_with_logits(scaled, targets, reduction="none")
        # A slight pull to "leave it as it is", which only matters where rows are few.
        total = (loss * weight[:, None]).sum() + (log_scale**2 + bias**2).sum()
        total.backward()
        return total

    with torch.enable_grad():
        optimizer.step(closure)
    positives = targets.sum(0)
    enough = (positives >= MINIMUM_SUPPORT) & (len(targets) - positives >= MINIMUM_SUPPORT)
    scale = torch.where(enough, log_scale.detach().exp(), 1.0)
    return scale.float(), torch.where(enough, bias.detach(), 0.0).float()


@torch.no_grad()
def fold_into_last_layer(model, scale: torch.Tensor, bias: torch.Tensor) -> None:
    """Changes the model's last layer so that its logits are `scale × logit + bias` from now on."""
    last = model.fc[-1]
    last.weight.mul_(scale.to(last.weight)[:, None])
    last.bias.mul_(scale.to(last.bias)).add_(bias.to(last.bias))


def tune_thresholds(
    probabilities: np.ndarray, targets: np.ndarray, weight: np.ndarray | None = None, default: float = 0.5
) -> list[float]:
    """For each class the threshold of best weighted F1; classes with few positives stay close to `default`.

    The F1 of every possible cut is smoothed by pretending some rows on both sides, so that a handful of
    positives cannot choose an extreme one.

    Args:
        probabilities: [N, C]. targets: [N, C]. weight: [N].
    """
    weight = np.ones(len(probabilities)) if weight is None else np.asarray(weight, dtype=np.float64)
    thresholds = []
    for column in range(probabilities.shape[1]):
        p, t = probabilities[:, column].astype(np.float64), targets[:, column] > 0.5
        if t.sum() < MINIMUM_SUPPORT:
            thresholds.append(default)
            continue
        order = np.argsort(-p, kind="stable")
        hits = np.cumsum((t * weight)[order])
        given = np.cumsum(weight[order])
        f1 = 2 * hits / (given + (t * weight).sum())
        # A cut can only lie between different probabilities.
        last = np.append(p[order][1:] != p[order][:-1], True)
        f1[~last] = -1
        best = int(np.argmax(f1))
        following = p[order][best + 1] if best + 1 < len(p) else p[order][best]
        thresholds.append(float(np.clip((p[order][best] + following) / 2, 0.01, 0.99)))
    return thresholds
