"""What is counted, in the text format of Prometheus."""

from vidi.serve.metrics import SECONDS, SIZES, Metrics


def test_counters_have_a_line_for_each_set_of_labels() -> None:
    metrics = Metrics()
    metrics.add("vidi_requests_total", path="/predict", status="200")
    metrics.add("vidi_requests_total", 2, status="200", path="/predict")
    metrics.add("vidi_requests_total", path="other", status="404")
    text = metrics.text()
    assert "# TYPE vidi_requests_total counter\n" in text
    assert 'vidi_requests_total{path="/predict",status="200"} 3\n' in text
    assert 'vidi_requests_total{path="other",status="404"} 1\n' in text


def test_histograms_are_cumulative_and_a_bound_belongs_to_its_bucket() -> None:
    metrics = Metrics()
    for value in (1, 2, 3, 100):
        metrics.add("vidi_batch_size", value, model="m")
    rows = [line for line in metrics.text().splitlines() if line.startswith("vidi_batch_size")]
    assert SIZES == (1, 2, 4, 8, 16, 32, 64)
    assert rows == [
        'vidi_batch_size_bucket{model="m",le="1"} 1',
        'vidi_batch_size_bucket{model="m",le="2"} 2',
        *(f'vidi_batch_size_bucket{{model="m",le="{bound}"}} 3' for bound in (4, 8, 16, 32, 64)),
        'vidi_batch_size_bucket{model="m",le="+Inf"} 4',
        'vidi_batch_size_sum{model="m"} 106',
        'vidi_batch_size_count{model="m"} 4',
    ]
    assert SECONDS == (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


def test_gauges_are_read_when_asked_and_labels_are_escaped() -> None:
    metrics, depth = Metrics(), [1.0]
    metrics.watch("vidi_queue", "Waiting.", lambda: {(("model", 'a"\\\nb'),): depth[0]})
    depth[0] = 2.0
    assert '# HELP vidi_queue Waiting.\n# TYPE vidi_queue gauge\nvidi_queue{model="a\\"\\\\\\nb"} 2\n' in metrics.text()


def test_every_number_has_a_kind_and_an_explanation() -> None:
    text = Metrics().text()
    kinds = {line.split()[2]: line.split()[3] for line in text.splitlines() if line.startswith("# TYPE")}
    assert kinds == {
        "vidi_start_time_seconds": "gauge",
        "vidi_requests_total": "counter",
        "vidi_request_seconds": "histogram",
        "vidi_pictures_total": "counter",
        "vidi_batch_size": "histogram",
        "vidi_model_seconds": "histogram",
    }
    assert text.count("# HELP") == len(kinds)
