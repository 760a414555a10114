"""Muon (Jordan et al. 2024): momentum whose matrices are made orthogonal by Newton-Schulz before they are added."""
import torch


def orthogonal(g, steps=5):
    """Nearly the nearest orthogonal matrices of g [n, rows, columns], rows <= columns."""
    x = g / (g.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x


class Muon:
    """All matrices of one shape are one batch."""

    def __init__(self, matrices, momentum=0.95, decay=0.01):
        self.momentum, self.decay = momentum, decay
        shapes = {}
        for p in matrices:
            shapes.setdefault(tuple(p.shape), []).append(p)
        self.groups = list(shapes.values())
        self.memory = [torch.zeros(len(g), *g[0].shape, device=g[0].device) for g in self.groups]

    @torch.no_grad()
    def step(self, rate):
        for group, memory in zip(self.groups, self.memory):
            g = torch.stack([p.grad for p in group]).float()
            memory.lerp_(g, 1 - self.momentum)
            g = g.lerp(memory, self.momentum)  # Nesterov's look ahead
            rows, columns = g.shape[1:]
            x = (g if rows <= columns else g.mT).to(torch.bfloat16 if g.is_cuda else torch.float32)
            x = orthogonal(x)
            x = (x if rows <= columns else x.mT).float() * max(1, rows / columns) ** 0.5
            torch._foreach_mul_(group, 1 - rate * self.decay)
            torch._foreach_add_(group, list(x.unbind(0)), alpha=-rate)
            for p in group:
                p.grad = None

    def state(self):
        return self.memory

    def load(self, state):
        for memory, saved in zip(self.memory, state):
            memory.copy_(saved)
