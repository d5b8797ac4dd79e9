import plain_encoders as plain
import torch

from braindecode_ssr.models import NICEGA, TSConv


def test_forward_equals_a_plain_derivation():
    torch.manual_seed(0)
    model = NICEGA(n_outputs=6, n_chans=3, n_times=90).eval()
    torch.nn.init.normal_(model.front.bias)
    p, x = plain.weights(model), torch.randn(2, 3, 90)
    a = torch.cat([p["front.receiver.weight"][0], p["front.sender.weight"][0]])
    wanted = x.clone()
    for trial in range(2):
        node = [p["front.linear.weight"] @ x[trial, i] for i in range(3)]
        for i in range(3):
            score = torch.stack([a @ torch.cat([node[i], node[j]]) for j in range(3)])
            alpha = plain.softmax(torch.where(score > 0, score, 0.2 * score))
            wanted[trial, i] += sum(alpha[j] * node[j] for j in range(3)) + p["front.bias"]
    torch.testing.assert_close(model.front(x), wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(x), plain.tsconv(p, wanted), rtol=1e-4, atol=1e-5)


def test_the_attention_adds_one_map_two_scores_and_a_bias():
    with torch.device("meta"):
        model = NICEGA(n_outputs=768, n_chans=63, n_times=250)
        plainer = TSConv(n_outputs=768, n_chans=63, n_times=250)
    count = [sum(part.numel() for part in one.parameters()) for one in (model, plainer)]
    assert count[0] - count[1] == 250 * 250 + 3 * 250


def test_its_own_parameters_are_used():
    model = NICEGA(n_outputs=6, n_chans=3, n_times=90, negative_slope=0.5, attention_drop_prob=0.7)
    assert (model.front.leak.negative_slope, model.front.drop.p) == (0.5, 0.7)
