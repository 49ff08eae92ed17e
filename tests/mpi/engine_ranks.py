"""What a training rank does in tests/mpi/test_engines.py; the argument says which runs, as JSON.

Started several times side by side, as training ranks are; or once with ``fork``, which makes
ranks with variables of their own out of one process that has imported torch. Prints a line of
JSON for each run of each rank.
"""

import itertools
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hpc_gw.distributed import ParallelConfig, leave, parallel
from hpc_gw.errors import HpcGwError
from hpc_gw.models.batchnorm import SyncedBatchNorm, synchronise
from hpc_gw.models.config import ModelConfig
from hpc_gw.models.wavenet import WaveNet
from hpc_gw.pipeline import rank_variables
from hpc_gw.training.lamb import OptimizerConfig, make_optimizer

MODEL = ModelConfig(
    input_steps=64, stem_channels=4, stem_kernel=8, stem_stride=4, stacks=1, dilations=(1, 2),
    residual_channels=4, gate_channels=4, root_channels=8, root_outputs=2, root_steps=16,
    leaf_width=16, dropout=0.0, norm_momentum=0.1, standardize=True,
)  # fmt: skip
BATCH = 8


def one_step(ranks, module, optimizer, batches, loss_of):
    """A step of the training loop over micro-batches; returns their mean loss."""
    optimizer.zero_grad()
    total = 0.0
    for i, batch in enumerate(batches, start=1):
        with ranks.micro_step(module, last=i == len(batches)):
            loss = loss_of(module, batch) / len(batches)
            torch.autograd.backward(loss)
        total += float(loss.detach())
    ranks.finish(optimizer)
    return total


def gradients(ranks, accumulate):
    """y = w x with micro-batch i of rank r at x = 1 + r + 10 i: dy/dw is x."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    module, optimizer = ranks.wrap(model, torch.optim.SGD(model.parameters(), lr=1.0), accumulate)
    found = []
    for _ in range(3):
        batches = [torch.tensor([[1.0 + ranks.world.rank + 10 * i]]) for i in range(accumulate)]
        one_step(ranks, module, optimizer, batches, lambda m, x: m(x).sum())
        found.append(float(model.weight.grad))
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        ranks.step(optimizer)
        found.append(float(model.weight.detach()))
    return {"found": found, "wire_bytes": ranks.wire_bytes, "exposed_s": ranks.exposed_s}


def data(steps=50, seed=3):
    random = np.random.default_rng(seed)
    x = torch.from_numpy(random.normal(size=(steps, BATCH, 64)).astype(np.float32))
    y = torch.from_numpy(random.normal(size=(steps, BATCH, 5)).astype(np.float32))
    return x, y


def train(ranks, kind, steps, accumulate=1):
    """Losses of the global batches, and the weights' sum of magnitudes."""
    torch.manual_seed(7 + ranks.world.rank)  # rank 0's weights must become everybody's
    model = WaveNet(MODEL)
    if ranks.world.size > 1:
        synchronise(model, ranks.sum)
    optimizer = make_optimizer(
        OptimizerConfig(kind=kind, lr=1e-3, max_grad_norm=0.7), model.parameters()
    )
    module, optimizer = ranks.wrap(model, optimizer, accumulate)
    world = ranks.world
    x, y = data()
    own = slice(world.rank * BATCH // world.size, (world.rank + 1) * BATCH // world.size)
    losses = []
    for step in range(steps):
        batches = list(
            zip(x[step, own].chunk(accumulate), y[step, own].chunk(accumulate), strict=True)
        )
        loss = one_step(
            ranks, module, optimizer, batches,
            lambda m, batch: (m(batch[0]) - batch[1]).square().mean(),
        )  # fmt: skip
        if kind != "lamb":
            nn.utils.clip_grad_norm_(model.parameters(), 0.7)
        ranks.step(optimizer)
        losses.append(world.sum(loss) / world.size)
        if step == steps // 2:  # state survives a round trip, as at a resume
            optimizer.load_state_dict(optimizer.state_dict())
    # Not running means: the bias before each of them has no gradient but rounding's.
    running = {n: b.tolist() for n, b in model.named_buffers() if n.endswith("running_var")}
    return {
        "losses": losses,
        "weights": sum(float(p.detach().double().abs().sum()) for p in model.parameters()),
        "bound": optimizer.defaults.get("max_grad_norm"),
        "kind": type(optimizer).__name__,
        "numbers": sum(p.numel() for p in model.parameters()),
        "shapes": [list(p.shape) for p in model.parameters()],
        "channels": [m.num_features for m in model.modules() if isinstance(m, nn.BatchNorm1d)],
        "wire_bytes": ranks.wire_bytes,
        "exposed_s": ranks.exposed_s,
        "running": running,
    }


def batchnorm(ranks):
    """Largest relative differences to nn.BatchNorm1d on the concatenated batch."""
    world, found = ranks.world, {}
    for dtype, wide in ((torch.float32, True), (torch.float64, False)):
        torch.manual_seed(1)
        sizes = [2 + 3 * r for r in range(world.size)]  # uneven
        shape = (sum(sizes), 6, 11) if wide else (sum(sizes), 6)
        own = slice(sum(sizes[: world.rank]), sum(sizes[: world.rank + 1]))
        plain = nn.BatchNorm1d(6, eps=1e-3, momentum=0.1).to(dtype)
        nn.init.normal_(plain.weight)
        nn.init.normal_(plain.bias)
        holder = nn.Sequential(nn.BatchNorm1d(6, eps=1e-3, momentum=0.1).to(dtype))
        holder[0].load_state_dict(plain.state_dict())
        kept = holder[0].weight
        synchronise(holder, ranks.sum)
        synced = holder[0]
        assert isinstance(synced, SyncedBatchNorm) and synced.weight is kept
        worst = {}
        for _ in range(3):
            x = (torch.randn(shape, dtype=torch.float64) * 1.7 + 0.3).to(dtype)
            x.requires_grad_()
            part = x.detach()[own].clone().requires_grad_()
            coefficients = torch.randn(shape, dtype=dtype)
            plain.zero_grad()
            synced.zero_grad()
            whole = plain(x)
            (whole.square() * coefficients).sum().backward()
            mine = synced(part)
            (mine.square() * coefficients[own]).sum().backward()
            pairs = {
                "output": (mine, whole[own]),
                "input": (part.grad, x.grad[own]),
                "weight": (ranks.sum(synced.weight.grad.clone()), plain.weight.grad),
                "bias": (ranks.sum(synced.bias.grad.clone()), plain.bias.grad),
                "running_mean": (synced.running_mean, plain.running_mean),
                "running_var": (synced.running_var, plain.running_var),
            }
            for name, (a, b) in pairs.items():
                error = float((a - b).detach().abs().max() / b.detach().abs().max())
                worst[name] = max(worst.get(name, 0.0), error)
        assert synced.state_dict().keys() == plain.state_dict().keys()
        plain.load_state_dict(synced.state_dict())
        x = x.detach()[own]
        assert torch.equal(plain.eval()(x), synced.eval()(x))
        found[str(dtype)] = worst
    return {"found": found}


def lost(ranks, how):
    model = nn.Linear(3, 2)
    module, optimizer = ranks.wrap(model, torch.optim.SGD(model.parameters(), lr=1.0))
    own = float(os.getpid()) if ranks.world.rank == 0 else 0.0
    first = Path(f"/proc/{ranks.world.sum(own):.0f}")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the loop takes note of it, and goes on
    for step in range(10):
        if step == 5 and ranks.world.rank == 1:
            if how == "killed":
                print("\n" + json.dumps({"at": time.time(), "scenario": how}), flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            while first.exists():  # until rank 0 has waited long enough
                time.sleep(0.05)
        one_step(ranks, module, optimizer, [torch.ones(2, 3)], lambda m, x: m(x).sum())
        ranks.step(optimizer)
    return {}


CASES = {"gradients": gradients, "train": train, "batchnorm": batchnorm, "lost": lost}


def main(runs, name=""):
    """Each of ``runs`` is (configuration, case, arguments...); they end with the first error.

    Ranks join once for all runs that follow one another with the same configuration.
    """
    port = int(os.environ.get("MASTER_PORT", 0))
    for i, (config, group) in enumerate(itertools.groupby(runs, key=lambda run: run[0])):
        if port:
            os.environ["MASTER_PORT"] = str(port + i)  # nobody meets in a run that is ending
        try:
            with parallel(ParallelConfig(**config)) as ranks:
                for _, case, *arguments in group:
                    found = CASES[case](ranks, *arguments)
                    found |= {"rank": ranks.world.rank, "size": ranks.world.size}
                    found |= {"engine": ranks.name, "case": [case, *arguments], "scenario": name}
                    found["compression"] = config.get("compression", "none")
                    print("\n" + json.dumps(found), flush=True)
        except HpcGwError as error:
            found = {"error": f"{type(error).__name__}: {error}", "at": time.time()}
            print("\n" + json.dumps(found | {"scenario": name}), flush=True)
            return error.exit_code
    return 0


def fork(scenarios):
    """One after the other, (name, ranks, runs); lines tell their name.

    The ranks' number, which then meet at a port that is free now, or variables of each.
    """
    for name, ranks, runs in scenarios:
        children = []
        for variables in rank_variables(ranks) if isinstance(ranks, int) else ranks:
            if child := os.fork():
                children.append(child)
                continue
            os.environ.update(variables)
            leave(main(runs, name))
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print("\n" + json.dumps({"scenario": name, "codes": codes}), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "fork":
        fork(json.loads(sys.argv[2]))
    else:
        leave(main(json.loads(sys.argv[1])))
