import math

import plain_encoders as plain
import torch

from braindecode_ssr.models import NICESA, TSConv


def test_forward_equals_a_plain_derivation():
    torch.manual_seed(0)
    model = NICESA(n_outputs=6, n_chans=3, n_times=90).eval()
    p, x = plain.weights(model), torch.randn(2, 3, 90)
    attended = []
    for trial in x:
        q, k, v = (plain.affine(p, f"front.{part}", trial) for part in ("query", "key", "value"))
        attended.append(trial + plain.softmax(q @ k.T / math.sqrt(90)) @ v)
    wanted = plain.tsconv(p, torch.stack(attended))
    torch.testing.assert_close(model(x), wanted, rtol=1e-4, atol=1e-5)


def test_the_attention_adds_three_maps_along_time():
    with torch.device("meta"):
        model = NICESA(n_outputs=768, n_chans=63, n_times=250)
        plainer = TSConv(n_outputs=768, n_chans=63, n_times=250)
    count = [sum(part.numel() for part in one.parameters()) for one in (model, plainer)]
    assert count[1] == 1_802_496 and count[0] - count[1] == 3 * (250 * 250 + 250)


def test_channels_are_equal_to_the_attention():
    torch.manual_seed(0)
    front = NICESA(n_outputs=6, n_chans=5, n_times=90).front.eval()
    x, order = torch.randn(2, 5, 90), torch.randperm(5)
    torch.testing.assert_close(front(x[:, order]), front(x)[:, order])


def test_its_own_dropout():
    front = NICESA(n_outputs=6, n_chans=3, n_times=90, attention_drop_prob=0.7, drop_prob=0.1).front
    assert front.drop.p == 0.7
