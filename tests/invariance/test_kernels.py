"""Our own kernels change nothing but the time: the gradients of bf16, whatever the split; the same curve; the same bytes after a resume."""

from __future__ import annotations

import json

import pytest
import torch
import transformers

import small
from septet.engine import kernels, native
from septet.engine.one_pass import OnePassAdamW
from septet.engine.shortcut import first_token_only
from septet.engine.step import backward, group_weights
from septet.engine.unpad import unpadder
from septet.errors import RunError
from septet.journey import train
from septet.methods import decay_groups
from septet.methods.layers import Layers
from septet.methods.layers import Options as LayerOptions
from septet.methods.lora import Lora
from septet.recipe import Recipe
from tiny import bench, model_folder

WHY = native.lacking()
pytestmark = pytest.mark.skipif(bool(WHY), reason=f"no kernels: {WHY}")

METHODS = {"full": None, "layers": Layers(LayerOptions(count=1)), "lora": Lora()}
KINDS = {"bert": transformers.BertConfig, "roberta": transformers.RobertaConfig}


def wide(folder, kind):
    """Write a checkpoint whose heads are 32 wide, as the kernel wants them, with dropout everywhere."""
    model_folder(folder, kind, dropout=0.1)
    config = transformers.AutoConfig.from_pretrained(folder).to_dict() | {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_attention_heads": 2,
    }
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(KINDS[kind].from_dict(config))
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and "embed" not in name:
            torch.nn.init.normal_(parameter, std=0.15)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: wide(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


@pytest.fixture
def called(monkeypatch):
    """The kernels that are called."""
    found, call = [], native.call
    monkeypatch.setattr(native, "call", lambda name, *arguments: found.append(name) or call(name, *arguments))
    return found


def gradients(folder, *, by="torch", precision="bf16", method=None, split=(range(40),), out=True):
    torch.manual_seed(0)
    b = bench(folder, count=40, precision=precision, method=method)
    take_out = None
    if first_token_only(b.model, b.clock, len(b.processor)) is not None and out:
        take_out = unpadder(b.model, b.clock, len(b.processor))
    if by == "kernels":
        assert kernels.install(b.model, b.clock) == 4  # two norms of each layer
    optimizer = b.optimizer()
    batches = [take_out(b.batch(rows)) if take_out else b.batch(rows) for rows in split]
    totals = group_weights(b.task, batches)
    b.model.train()
    loss = 0.0
    for batch in batches:
        b.clock.set(batch.rows, 0)
        with b.clock.layout(batch.layout):
            loss += float(backward(b.model, b.task, batch, totals))
    return {name: t.grad.float().clone() for name, t in optimizer.masters.tensors.items() if t.grad is not None}, loss


def distance(a, b):
    assert a.keys() == b.keys()
    a, b = (torch.cat([t.flatten().double() for t in x.values()]) for x in (a, b))
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("out", [True, False], ids=["laid-end-to-end", "padded"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_as_near_to_fp32_as_pytorchs(folders, kind, out, called):
    exact, loss = gradients(folders[kind], precision="fp32", out=out)
    plain, _ = gradients(folders[kind], out=out)
    found, again = gradients(folders[kind], by="kernels", out=out)
    assert found.keys() == exact.keys()
    assert 0 < distance(found, exact) <= 1.1 * distance(plain, exact)
    assert again == pytest.approx(loss, rel=5e-2)
    assert "septet_norm_back" in called and ("septet_attention_back" in called) == out


@pytest.mark.parametrize("method", METHODS)
def test_every_method(folders, method):
    exact, _ = gradients(folders["bert"], precision="fp32", method=METHODS[method])
    plain, _ = gradients(folders["bert"], method=METHODS[method])
    found, _ = gradients(folders["bert"], by="kernels", method=METHODS[method])
    assert distance(found, exact) <= 1.1 * distance(plain, exact)


def test_any_split_of_the_group(folders):
    expected, loss = gradients(folders["bert"], by="kernels")
    for split in ([[i] for i in range(40)], [range(17), range(17, 40)]):
        found, again = gradients(folders["bert"], by="kernels", split=split)
        assert distance(found, expected) <= 2e-2
        assert again == pytest.approx(loss, rel=1e-2)


@pytest.mark.parametrize("clip", [None, 0.1])
def test_the_update_is_adamws(folders, clip):
    """The same gradients, clipped or not: masters and moments as PyTorch's fused kernel moves them, and the parameter rounded from them."""
    after = {}
    for by in ("torch", "kernels"):
        b = bench(folders["bert"], count=40, precision="bf16")
        optimizer = b.optimizer()
        if by == "kernels":
            groups = decay_groups(b.model, 0.01)
            optimizer = OnePassAdamW(optimizer.masters, groups, betas=(0.9, 0.999), eps=1e-8, kernels=True)
        for turn in range(5):
            draw = torch.Generator().manual_seed(turn)
            for name, master in optimizer.masters.tensors.items():
                grad = torch.randn(master.shape, generator=draw)
                wide_one = turn % 2 or name in optimizer.masters.used_rows  # of several micro-batches, or of one
                if by == "torch" or wide_one:
                    master.grad = grad.clone() if wide_one else grad.bfloat16().float()
                else:
                    optimizer.masters._held[name] = grad.bfloat16()
            norm = float(optimizer.gradient_norm())
            optimizer.step(1e-2, 1.0 if clip is None else clip / norm)
        kept = {name: value.float() for name, value in optimizer.state().items()}
        rounded = {name: p.detach().float() for name, p in b.model.named_parameters()}
        after[by] = [optimizer.masters.state(), kept, rounded, norm]
    for torchs, ours in zip(after["torch"][:2], after["kernels"][:2], strict=True):
        assert torchs.keys() == ours.keys()
        for name in torchs:
            torch.testing.assert_close(ours[name], torchs[name], rtol=1e-5, atol=1e-7)
    assert after["kernels"][3] == pytest.approx(after["torch"][3], rel=1e-5)
    for name, value in after["kernels"][2].items():
        torch.testing.assert_close(value, after["torch"][2][name], rtol=1e-2, atol=1e-6)


def recipe(folder, **more):
    source = small.recipe(folder, precision="bf16", token_budget=512, **more)
    wide(folder / "base", "bert")
    return source


def losses(run):
    return [json.loads(line)["loss"] for line in (run.path / "steps.jsonl").read_text().splitlines()]


def test_the_curve_is_the_same(tmp_path):
    source = recipe(tmp_path, lr=5e-4)
    found = {}
    for by in (False, True):
        source["train"]["kernels"] = by
        found[by] = losses(train(source, run=tmp_path / f"{by}").run)
    assert len(found[True]) == 21 and found[True] != found[False]
    assert found[True] == pytest.approx(found[False], rel=2e-2)


class Enough(Exception):
    pass


def test_a_resumed_run_has_the_same_bytes(tmp_path):
    source = recipe(tmp_path, kernels=True)
    unbroken = train(source, run=tmp_path / "unbroken").run

    def stop(event, **facts):
        if event == "step" and facts["step"] == 13:
            raise Enough

    with pytest.raises(Enough):
        train(source, run=tmp_path / "broken", listen=stop)
    broken = train(source, run=tmp_path / "broken", resume=True).run
    assert losses(broken) == losses(unbroken)
    weights = [(run.model / "model.safetensors").read_bytes() for run in (unbroken, broken)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("compiler_came", [True, False], ids=["a compiler came", "the compiler went"])
def test_a_run_that_would_go_on_by_another_path_is_refused(tmp_path, compiler_came):
    """Begun with kernels and resumed without, or the other way round: the digits would part, so it is told and not done."""
    source = recipe(tmp_path, kernels=True, epochs=1, count=43)
    run = tmp_path / "run"

    def go(lacking, **options):
        with pytest.MonkeyPatch.context() as patch:
            if lacking:
                patch.setattr(native, "_loaded", lambda: (None, "no C++ compiler (g++) is installed"))
                patch.setattr(native, "_compiler", lambda: None)
            return train(source, run=run, **options)

    with small.stopped_after(3):
        go(compiler_came)
    names = [("torch", "kernels, torch"), ("torch", "kernels"), ("none", str(native.compiler_version()))]
    then, now = zip(*(pair if compiler_came else pair[::-1] for pair in names), strict=True)
    with pytest.raises(RunError) as refused:
        go(not compiler_came, resume=True)
    told = refused.value.what.splitlines()[1:]
    assert [line.split(": ", 1)[1].split(";")[0] for line in told] == [
        f"{a} then, {b} now" for a, b in zip(then, now, strict=True)
    ]
    assert all(line.endswith("the result may differ in its last bits") for line in told)
    result = go(not compiler_came, resume=True, force=True)
    assert "resumed-changed" in [finding["slug"] for finding in result.run.read_json("setup.json")["findings"]]
    assert [each["then"] for each in result.run.read_json("begun.json")["forced"]] == list(then)


def test_a_run_says_whether_they_are_used_and_why(tmp_path, monkeypatch):
    source = recipe(tmp_path, max_steps=2)
    short = train(source, run=tmp_path / "short").run
    assert "kernels: false  # why: the run is over before they are compiled" in (short.path / "recipe.yaml").read_text()
    monkeypatch.setattr(kernels, "REPAYS", 1.0)
    long = train(source, run=tmp_path / "long").run
    assert Recipe.load(long.path / "recipe.yaml").train.kernels is True
    # as written, on a machine without a compiler: told, and trained all the same
    monkeypatch.setattr(native, "_loaded", lambda: (None, "no C++ compiler (g++) is installed"))
    without = train(str(long.path / "recipe.yaml"), run=tmp_path / "without").run
    slugs = [finding["slug"] for finding in without.read_json("setup.json")["findings"]]
    assert "kernels-unused" in slugs and len(losses(without)) == 2
