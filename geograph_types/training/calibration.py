"""After training: probabilities that mean what they say, and thresholds that fit each class.

The calibration is folded into the last layer, so that `sigmoid(logits)` is calibrated with no extra step;
thresholds are tuned after it and saved in the config.
"""

import numpy as np
import torch

from geograph_types.inference import sigmoid

# A class with fewer positives than this, each counted by its weight, keeps what it has: a fit would follow single
# rows.
MINIMUM_SUPPORT = 5

# A class is calibrated only where the rows say that it needs it: twice the gain in log-likelihood is χ² with two
# degrees of freedom where it does not, so that 9.21 comes up by chance once in a hundred. A fit without this guard
# made probabilities worse on 800 clean rows (docs/experiments.md).
LIKELIHOOD_RATIO = 9.21

# Thresholds are sought on this grid of logits: probabilities .007 to .98.
THRESHOLD_LOGITS = np.linspace(-5.0, 4.0, 181)
# F1 this many standard errors below the best still counts as good: 1, as in the one-standard-error rule of CART.
TOLERANCE = 1.0


def fit_calibration(
    logits: torch.Tensor,
    targets: torch.Tensor,
    weight: torch.Tensor | None = None,
    likelihood_ratio: float = LIKELIHOOD_RATIO,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Per-class scale and bias that minimise the weighted loss of `sigmoid(scale × logit + bias)` (Platt, 1999).

    Args:
        logits: [N, C]. targets: [N, C], 0 or 1. weight: [N].
        likelihood_ratio: twice the gain in log-likelihood that a class must show.

    Returns:
        scale [C], above 0, and bias [C]; 1 and 0 for a class with too few rows, or that is calibrated as it is.
    """
    logits, targets = logits.double(), targets.double()
    weight = torch.ones(len(logits), dtype=torch.float64) if weight is None else weight.double()
    classes = logits.shape[1]
    log_scale = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_scale, bias], max_iter=200, line_search_fn="strong_wolfe")

    def per_class() -> torch.Tensor:
        scaled = logits * log_scale.exp() + bias
        loss = torch.nn.functional.binary_cross_entropy_with_logits(scaled, targets, reduction="none")
        return (loss * weight[:, None]).sum(0)

    def closure():
        optimizer.zero_grad()
        total = per_class().sum() + (log_scale**2 + bias**2).sum()  # the pull keeps separable classes finite
        total.backward()
        return total

    with torch.enable_grad():
        before = per_class().detach()
        optimizer.step(closure)
    positives = (weight[:, None] * targets).sum(0)
    enough = (positives >= MINIMUM_SUPPORT) & (weight.sum() - positives >= MINIMUM_SUPPORT)
    enough &= 2 * (before - per_class().detach()) > likelihood_ratio
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
    """For each class a threshold in the middle of those whose F1 is as good as the best, as far as rows can tell.

    The best cut itself would follow single rows where positives are few: on the hard rows it gave From Drone .17
    to .52 by chance. So each cut weighs by how near its F1 comes to the best one's, in standard errors, and the
    mean of the cuts (as logits) is taken. Where rows are many, that is the best cut; where they are few, the
    middle of a plateau. `docs/experiments.md` has the comparison.

    Args:
        probabilities: [N, C]. targets: [N, C]. weight: [N].
        default: for a class with fewer than `MINIMUM_SUPPORT` positives.
    """
    weight = np.ones(len(probabilities)) if weight is None else np.asarray(weight, dtype=np.float64)
    thresholds = []
    for column in range(probabilities.shape[1]):
        target = targets[:, column] > 0.5
        if (weight * target).sum() < MINIMUM_SUPPORT:
            thresholds.append(default)
            continue
        f1, error = f1_by_threshold(probabilities[:, column], target, weight)
        best = int(np.argmax(f1))
        # Nothing to weigh where the best cut is beyond doubt: its error is 0 when F1 is 1.
        distance = (f1[best] - f1) / max(TOLERANCE * error[best], 1e-6)
        share = np.exp(-0.5 * distance**2)
        thresholds.append(float(sigmoid((share * THRESHOLD_LOGITS).sum() / share.sum())))
    return thresholds


def f1_by_threshold(probability: np.ndarray, target: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted F1 at each of `THRESHOLD_LOGITS`, and its standard error (delta method; counts as Poisson).

    Args:
        probability, weight: [N]. target: bool [N].
    """
    order = np.argsort(-probability, kind="stable")
    count = np.searchsorted(-probability[order], -sigmoid(THRESHOLD_LOGITS), side="right")
    hits = np.concatenate([[0.0], np.cumsum((weight * target)[order])])[count]
    given = np.concatenate([[0.0], np.cumsum(weight[order])])[count]
    total = np.maximum(given + (weight * target).sum(), 1e-12)
    false, missed = given - hits, (weight * target).sum() - hits
    # F1 = 2 hits / (2 hits + false + missed), derived by each of the three.
    by_hits, by_error = 2 * (false + missed) / total**2, 2 * hits / total**2
    variance = by_hits**2 * hits + by_error**2 * np.maximum(false, 0) + by_error**2 * np.maximum(missed, 0)
    return 2 * hits / total, np.sqrt(variance)
