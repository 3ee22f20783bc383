"""Which attention is faster follows the times that were measured, is kept, and is not asked where something would be lost."""

import pytest
import torch

import languages
from septet.engine import attention_speed, dropout, native
from septet.engine.attention import ATTENTION, caps_scores, register_attention
from septet.engine.attention_speed import choose, faster, times, typical

ASKED = {"dtype": torch.float32, "budget": 512, "laid": True}


def made(kind="llama", rate=0.0):
    register_attention()
    model = languages.model(kind, dropout=rate, attention=ATTENTION)
    dropout.install(model, 3)
    return model


@pytest.fixture
def told(monkeypatch, tmp_path):
    """Times to be told, a pair each, and the shapes that were asked for."""
    monkeypatch.setenv("SEPTET_CACHE", str(tmp_path))
    pairs, asked = [], []

    def tell(*shapes, **more):
        asked.append((*shapes, more))
        return dict(zip(("eager", "sdpa"), pairs.pop(0), strict=True))

    monkeypatch.setattr(attention_speed, "times", tell)
    return pairs, asked


@pytest.mark.parametrize(
    ("eager", "sdpa", "chosen"), [(8.0, 4.0, "sdpa"), (4.0, 8.0, "eager"), (4.3, 4.0, "eager"), (4.5, 4.0, "sdpa")]
)
def test_the_faster_one_where_it_is_clear(eager, sdpa, chosen):
    found, why = faster({"eager": eager, "sdpa": sdpa}, "measured now")
    assert found == chosen
    assert f"{eager} ms eager, {sdpa:.1f} ms fused (measured now)" in why


def test_it_is_measured_a_few_times_and_the_best_is_kept(told):
    pairs, asked = told
    pairs += [(9.0, 20.0), (12.0, 6.0), (10.0, 7.0)]
    model = made()
    found = [choose(model, [200, 300, 400], **ASKED)[0] for _ in range(5)]
    assert found == ["eager", "sdpa", "sdpa", "sdpa", "sdpa"]
    assert len(asked) == 3
    assert asked[0] == ([320], 4, 8, {"dtype": torch.float32, "causal": True, "native": False})
    # with kernels of our own eager attention is another one, so it is timed anew
    pairs.append((1.0, 7.0))
    assert choose(model, [200, 300, 400], **ASKED, native=True)[0] == "eager"
    assert asked[3][-1]["native"] is True


def test_an_encoder_is_timed_as_one(told):
    pairs, asked = told
    pairs.append((9.0, 2.0))
    from transformers import BertConfig, BertForSequenceClassification

    model = BertForSequenceClassification(
        BertConfig(vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24)
    )
    for name in ("attention_probs_dropout_prob", "hidden_dropout_prob"):
        setattr(model.config, name, 0.0)
    dropout.install(model, 3)
    assert choose(model, [200], **ASKED)[0] == "sdpa"
    assert asked[0][-1]["causal"] is False


@pytest.mark.parametrize(
    ("kind", "rate", "lengths", "laid", "because"),
    [
        ("llama", 0.1, [400], True, "drops"),
        ("gpt2", 0.1, [400], True, "drops"),
        ("gemma2", 0.0, [400], False, "caps"),
        ("llama", 0.0, [128], True, "small part"),
        ("llama", 0.0, [400], False, "not laid"),
    ],
)
def test_nothing_is_measured_where_fused_attention_is_out_of_the_question(told, kind, rate, lengths, laid, because):
    found, why = choose(made(kind, rate), lengths, **{**ASKED, "laid": laid})
    assert found == "eager"
    assert because in why
    assert not told[1]


def test_a_rate_for_all_is_one_of_attention(told):
    model = made()
    model.config.attention_dropout = 0.0
    model.config.hidden_dropout = 0.1
    told[0].append((1.0, 9.0))
    choose(model, [400], **ASKED)
    del model.config.attention_dropout
    assert choose(model, [400], **ASKED)[1].startswith("it drops")
    assert len(told[1]) == 1


@pytest.mark.parametrize(
    ("lengths", "budget", "rows"),
    [
        ([100] * 99 + [1000], 4096, [112] * 9),
        ([100] * 50 + [300] * 50, 4096, [112, 112, 320, 320, 320]),
        ([9000] * 3, 4096, [2048]),
        ([200, 300, 700], 512, [320]),
    ],
)
def test_rows_that_are_timed(lengths, budget, rows):
    assert typical(lengths, budget) == rows


@pytest.mark.parametrize("causal", [False, True])
def test_both_are_timed(causal):
    before = torch.random.get_rng_state()
    found = times([7, 7, 9], 2, 8, dtype=torch.bfloat16, causal=causal)
    assert set(found) == {"eager", "sdpa"} and all(0 < value < 60_000 for value in found.values())
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.skipif(bool(native.lacking()), reason=f"no kernels: {native.lacking()}")
@pytest.mark.parametrize("by_kernel", [False, True])
def test_the_eager_one_that_is_timed_is_the_runs(monkeypatch, by_kernel):
    called, call = [], native.call
    monkeypatch.setattr(native, "call", lambda name, *given: called.append(name) or call(name, *given))
    times([7, 9], 2, 32, dtype=torch.bfloat16, causal=True, native=by_kernel)
    assert set(called) == ({"septet_attention", "septet_attention_back"} if by_kernel else set())


def test_scores_that_are_capped():
    assert caps_scores(languages.model("gemma2").config)
    assert not caps_scores(languages.model("llama").config)
