"""A program that shows a failing case without the battery: the optimizer's own step beside the reference's."""

from __future__ import annotations

import numpy as np

from nntk.crosscheck.case import Case
from nntk.crosscheck.setting import Setting

__all__ = ["snippet"]

_MODEL = """import numpy as np
import torch
from nntk_accelerated import ShallowNet
from nntk_reference import Network, gradient, hessian
{imports}
theta = np.array({theta})  # a row (c, w, eta) for each neuron
X = np.array({X})
y = np.array({y})
beta, activation, damping = {beta!r}, {activation!r}, {damping!r}

kind = {{"dtype": torch.{dtype}, "device": {device!r}}}
model = ShallowNet.from_theta(torch.tensor(theta, **kind), beta=beta, activation=activation)
inputs, targets = torch.tensor(X, **kind), torch.tensor(y, **kind)
optimizer = {factory}(model, inputs, targets, damping)


def closure():
    with torch.enable_grad():
        model.zero_grad()
        loss = ((model(inputs) - targets) ** 2).sum() / (2 * len(targets))
        loss.backward()
    return loss


def parameters():
    return model.theta.cpu().double().numpy()


for k in range({steps}):
    before = parameters()
    {step}
    step = parameters() - before
{expected}"""

_FUNCTION = """import numpy as np
from nntk.crosscheck import FunctionProblem
from nntk_reference import Network, gradient, hessian
{imports}
theta = np.array({theta})  # a row (c, w, eta) for each neuron
X = np.array({X})
y = np.array({y})
beta, activation, damping = {beta!r}, {activation!r}, {damping!r}
problem = FunctionProblem(X, y, len(theta), theta.shape[1] - 2, beta, activation)

after = theta.astype("{dtype}")
for k in range({steps}):
    before = after
    after = {factory}(before.reshape(-1), X.astype("{dtype}"), y.astype("{dtype}"), damping, problem).reshape(theta.shape)
    step = after.astype(float) - before
{expected}"""

_NEWTON = """    net = Network.from_theta(before, beta, activation)
    A = hessian(net, X, y) + damping * np.eye(theta.size)
    exact = np.linalg.solve(A, -gradient(net, X, y).reshape(-1)).reshape(theta.shape)
    print(f"step {k + 1}: relative error", np.linalg.norm(step - exact) / np.linalg.norm(exact))
"""

_GAUSS_NEWTON = """    net = Network.from_theta(before, beta, activation)
    J = jacobian(net, X).reshape(len(y), -1)
    A = J.T @ J / len(y) + damping * np.eye(theta.size)
    exact = np.linalg.solve(A, -gradient(net, X, y).reshape(-1)).reshape(theta.shape)
    print(f"step {k + 1}: relative error", np.linalg.norm(step - exact) / np.linalg.norm(exact))
"""

_PLAIN = """    print(f"step {k + 1}:", step)
"""


def snippet(setting: Setting, at: Case, steps: int) -> str:
    """A Python program that makes the optimizer, takes the steps, and prints their relative error to the profile's step.

    An optimizer that was not given as "package.module:name" has to be imported by hand, where the program says so.
    """
    name = setting.subject.name
    module, colon, attribute = name.partition(":")
    importable = bool(colon) and "<" not in name
    top = attribute.split(".")[0]
    imports = f"from {module} import {top}" if importable else f"factory = ...  # {name}: to be put here by hand"
    target = setting.profile.target if np.isfinite(at.objective.X).all() and np.isfinite(at.objective.y).all() else None
    expected = {"newton": _NEWTON, "gauss-newton": _GAUSS_NEWTON, None: _PLAIN}[target]
    function = setting.subject.takes_theta
    text = (_FUNCTION if function else _MODEL).format(
        imports=imports,
        theta=at.theta.tolist(),
        X=at.objective.X.tolist(),
        y=at.objective.y.tolist(),
        beta=at.objective.beta,
        activation=at.objective.activation,
        damping=at.objective.damping,
        dtype=setting.dtype,
        device=setting.device,
        factory=attribute if importable else "factory",
        steps=steps,
        step="optimizer.step(inputs, targets)" if setting.notes.get("form") == "object" else "optimizer.step(closure)",
        expected=expected,
    )
    if target is None:
        text = text.replace("from nntk_reference import Network, gradient, hessian\n", "")
        text = text.replace("[nan", "[np.nan").replace(" nan", " np.nan").replace("[inf", "[np.inf").replace(" inf", " np.inf")
    elif target == "gauss-newton":
        text = text.replace("Network, gradient, hessian", "Network, gradient, jacobian")
    return text
