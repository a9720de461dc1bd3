"""The detector: what counts as a repeat, drift by its equation, bounded memory, calibration, false alarms."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from skimage import data

from mea_plugin.benchmarks.watch import attackers, ordinary_customers, until_alarm
from mea_plugin.serving.options import ActionOptions
from mea_plugin.serving.watch import Calibration, Response, StreamDetector, calibrate
from mea_plugin.serving.watch.drift import Ordinary, content_features
from mea_plugin.serving.watch.fingerprints import Fingerprint, distances, fingerprint, image_hash, tokens
from mea_plugin.serving.watch.memory import Memory
from tests.helpers import call_tool, photograph, refused, save


@pytest.fixture(scope='module')
def pictures():
    """Real photographs, all different, 160 x 160."""
    wide = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket(), data.immunohistochemistry()]
    return [
        np.ascontiguousarray(image[top : top + 160, left : left + 160])
        for image in wide
        for top in range(0, min(image.shape[0] - 160, 161), 160)
        for left in range(0, image.shape[1] - 160, 160)
    ]


def changed(image, kind):
    generator = np.random.default_rng(0)
    if kind == 'jpeg':
        return cv2.imdecode(cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)
    if kind == 'noise':
        return np.clip(image + generator.normal(0, 2, image.shape), 0, 255).astype(np.uint8)
    if kind == 'smaller':
        return cv2.resize(image, (120, 120), interpolation=cv2.INTER_AREA)
    if kind == 'crop':
        return np.ascontiguousarray(image[21:141, 13:133])
    return image


@pytest.mark.parametrize(('kind', 'least'), [('same', 1), ('jpeg', 0.9), ('noise', 0.9), ('smaller', 1), ('crop', 0.8)])
def test_changed_images_are_repeats(pictures, kind, least):
    found = []
    for image in pictures:
        detector = StreamDetector(capacity=200)
        detector.observe(1, image)
        found.append(detector.observe(1, changed(image, kind)).is_repeat)
    assert np.mean(found) >= least


def test_other_images_and_other_customers_are_no_repeats(pictures):
    detector = StreamDetector(capacity=200)
    assert np.mean([detector.observe(1, image).is_repeat for image in pictures]) <= 0.05
    assert not detector.observe(2, pictures[0]).is_repeat


def test_distances_count_bits():
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 2**64, 50, np.uint64)
    expected = [bin(int(one) ^ int(hashes[7])).count('1') for one in hashes]
    assert distances(hashes, hashes[7]).tolist() == expected


@pytest.mark.parametrize('size', [(1, 1), (17, 40), (18, 18), (3, 300)])
def test_small_and_flat_images_are_remembered_too(size):
    for luma in (np.zeros(size, np.uint8), np.full(size, 255, np.uint8), photograph(size)[..., 0]):
        assert tokens(luma).ndim == 1
        image_hash(luma)
    detector = StreamDetector(Calibration(ordinary=ordinary()), capacity=100)
    flat = np.full((*size, 3), 9, np.uint8)
    assert [detector.observe(0, flat).is_repeat for _ in range(2)] == [False, True]


def ordinary():
    generator = np.random.default_rng(0)
    streams = [[photograph((40, 40), int(seed)) for seed in generator.integers(0, 1000, 4)] for _ in range(6)]
    return Ordinary.fit(streams)


def test_memory_is_bounded_and_forgets_the_oldest():
    memory = Memory(capacity=100)
    before = sum(array.nbytes for array in memory._arrays().values())
    generator = np.random.default_rng(0)
    queries = [
        Fingerprint(
            generator.integers(0, 2**64, dtype=np.uint64),
            generator.integers(0, 256, 64, np.uint8),
            generator.integers(0, 2**64, 32, np.uint64),
        )
        for _ in range(300)
    ]
    for query in queries:
        memory.add(1, query)
    assert len(memory) == 100
    assert sum(array.nbytes for array in memory._arrays().values()) == before
    kept, forgotten = queries[250], queries[150]
    assert memory.seen(1, kept._replace(parts=np.empty(0, np.uint64)))
    assert memory.seen(1, kept._replace(whole=~kept.whole))
    assert not memory.seen(1, kept._replace(thumbnail=kept.thumbnail ^ 64, parts=forgotten.parts))
    assert not memory.seen(1, forgotten)
    assert not memory.seen(2, kept)


def test_the_store_brings_the_memory_back(tmp_path, pictures):
    store = tmp_path / 'queries.npz'
    first = StreamDetector(capacity=100, store=store)
    first.observe(1, pictures[0])
    first.save()
    assert StreamDetector(capacity=100, store=store).observe(1, pictures[0]).is_repeat
    assert not StreamDetector(capacity=100).observe(1, pictures[0]).is_repeat


@pytest.mark.parametrize('damage', ['empty', 'half', 'text', 'flipped', 'pickle'])
def test_a_damaged_store_is_refused_or_begun_anew(tmp_path, pictures, caplog, damage):
    store = tmp_path / 'queries.npz'
    detector = StreamDetector(capacity=100, store=store)
    detector.observe(1, pictures[0])
    detector.save()
    content = bytearray(store.read_bytes())
    if damage == 'flipped':
        content[len(content) // 2] ^= 255
    damaged = {'empty': b'', 'half': content[: len(content) // 2], 'text': b'hello', 'flipped': content}
    if damage == 'pickle':
        np.save(store.with_suffix('.npy'), np.array([object()]), allow_pickle=True)
        damaged['pickle'] = store.with_suffix('.npy').read_bytes()
    store.write_bytes(bytes(damaged[damage]))
    with refused(store, do='on_corrupt: empty') as error:
        StreamDetector(capacity=100, store=store)
    assert '\n' not in str(error.value)
    anew = StreamDetector(capacity=100, store=store, on_corrupt='empty')
    assert str(store) in caplog.text
    assert not anew.observe(1, pictures[0]).is_repeat


def test_a_store_of_another_capacity_is_refused(tmp_path):
    store = tmp_path / 'queries.npz'
    StreamDetector(capacity=100, store=store).save()
    with refused(store, '100', '200'):
        StreamDetector(capacity=200, store=store)


def test_drift_is_a_mahalanobis_distance():
    generator = np.random.default_rng(1)
    root = generator.standard_normal((10, 10))
    within, between = root @ root.T, np.eye(10) * 3
    found = Ordinary(np.zeros(10), between, within)
    offset = generator.standard_normal(10)
    covariance = between + within / 4
    covariance += np.eye(10) * np.trace(covariance) / 10 * 1e-2
    expected = np.sqrt(offset @ np.linalg.inv(covariance) @ offset / 10)
    assert found.distance(offset, 4) == pytest.approx(expected)
    assert Ordinary.from_json(found.to_json(), 'x').distance(offset, 4) == pytest.approx(expected)


def test_ordinary_finds_the_variances_it_was_made_with(monkeypatch):
    """Features drawn with known covariances instead of images."""
    generator = np.random.default_rng(2)
    streams = [[generator.normal(2 * theme, 1) for _ in range(20)] for theme in generator.standard_normal((400, 10))]
    monkeypatch.setattr('mea_plugin.serving.watch.drift.content_features', lambda image: image)
    found = Ordinary.fit(streams)
    assert np.diag(found.within).mean() == pytest.approx(1, rel=0.05)
    assert np.diag(found.between).mean() == pytest.approx(4, rel=0.1)
    means = [np.mean(stream, axis=0) for stream in streams]
    assert np.mean([found.distance(mean, 20) ** 2 for mean in means]) == pytest.approx(1, rel=0.1)


def test_false_alarms_of_ordinary_customers_and_alarms_at_others(pictures):
    """Customers send photographs, some of them twice; attackers send crops of one, or noise."""
    generator = np.random.default_rng(3)

    def customer():
        chosen = [pictures[i] for i in generator.permutation(len(pictures))[:14]]
        return [changed(image, 'noise') for image in chosen] + [chosen[0]]

    calibration = calibrate([customer() for _ in range(12)], false_alarm=0.1)

    def highest(stream):
        detector = StreamDetector(calibration, capacity=1000)
        return max(detector.observe(1, image).score for image in stream)

    alarms = [highest(customer()) >= 1 for _ in range(10)]
    assert np.mean(alarms) <= 0.2
    source = data.astronaut()
    crops = [source[y : y + 128, x : x + 128] for y, x in generator.integers(0, 380, (30, 2))]
    assert highest([np.ascontiguousarray(crop) for crop in crops]) > 1
    assert highest([generator.integers(0, 256, (96, 96, 3), np.uint8) for _ in range(15)]) > 1


def test_nobody_is_judged_by_a_few_queries(pictures):
    detector = StreamDetector(Calibration(repeats=0.1), capacity=100)
    scores = [detector.observe(1, pictures[0]).score for _ in range(12)]
    assert scores[:9] == [0] * 9
    assert scores[9] > 1


def test_a_calibration_comes_back_and_a_damaged_one_is_refused(tmp_path):
    path = tmp_path / 'calibration.json'
    Calibration(0.3, 2.5, ordinary(), 0.01).save(path)
    found = Calibration.load(path)
    assert (found.repeats, found.drift, found.false_alarm) == (0.3, 2.5, 0.01)
    np.testing.assert_array_equal(found.ordinary.within, ordinary().within)
    for content in ('', '{}', path.read_text().replace('0.3', '"many"'), path.read_text().replace('"mean"', '"men"')):
        (tmp_path / 'bad.json').write_text(content)
        with refused('bad.json'):
            Calibration.load(tmp_path / 'bad.json')


def test_too_few_customers_are_refused():
    with refused('', '0', '10'):
        calibrate([[photograph((40, 40))] * 3] * 20)
    with refused('', '0'):
        Ordinary.fit([[photograph((40, 40))]])


def test_content_features_are_those_of_the_domain_distance():
    assert content_features(np.zeros((23, 40, 3), np.uint8)) is None
    assert content_features(photograph((24, 24))).shape == (10,)


def test_a_score_gets_the_strongest_action_that_it_reaches():
    actions = [
        ActionOptions(above=3, refuse=True),
        ActionOptions(above=1, wait_s=2),
        ActionOptions(above=2, defences=[{'type': 'levels', 'levels': 2}], wait_s=1),
    ]
    response = Response.from_options(actions, 'response')
    assert [response.action(score).name for score in (0, 0.99, 1, 2, 2.9, 3, 100)] == [
        *('answer', 'answer', 'slow', 'degrade', 'degrade', 'refuse', 'refuse')
    ]
    image = photograph((8, 8))
    assert set(np.unique(response.action(2).defend(image, image, 0))) <= {0, 255}
    assert response.action(0).defend(image, image, 0) is image


def test_a_calibration_from_folders(tmp_path, capsys):
    for customer in range(4):
        for number in range(10):
            image = photograph((48, 48), 10 * customer + number)
            save(tmp_path / 'customers' / f'c{customer}' / f'{number}.png', image)
    output = tmp_path / 'calibration.json'
    assert call_tool('calibrate_watch', tmp_path / 'customers', '--output', output, '--shrink', '2') == 0
    assert '4 customers' in capsys.readouterr().out
    assert Calibration.load(output).ordinary is not None


@pytest.mark.parametrize(
    ('arguments', 'where', 'quoted'),
    [
        (['no_such_folder'], 'no_such_folder', ''),
        (['.', '--false-alarm', '0'], '--false-alarm', '0.0'),
        (['.', '--shrink', '0'], '--shrink', '0'),
    ],
)
def test_folders_that_are_refused(tmp_path, monkeypatch, capsys, arguments, where, quoted):
    monkeypatch.chdir(tmp_path)
    assert call_tool('calibrate_watch', *arguments, '--output', 'x.json') == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f'error: {where}: ')
    assert quoted in line
    assert not (tmp_path / 'x.json').exists()


def test_the_benchmark_tells_customers_from_attackers():
    generator = np.random.default_rng(0)
    images = [photograph((64, 80), seed=seed) for seed in range(60)]
    customers = ordinary_customers(images, 12, generator, theme=0.0)
    for stream in customers:
        assert len({image.tobytes() for image in stream}) == len(stream) == 25
    calibration = calibrate(customers)
    makers = attackers(images, others=[255 - image for image in images[:12]])
    found = {name: until_alarm(make(generator), calibration) for name, make in makers.items()}
    assert found['crops of one image'] == 10  # as soon as anybody is judged
    assert found['another kind of images, each once'] is not None
    assert found['synthetic patterns'] is not None


def test_fingerprints_share_no_memory_between_sizes_and_threads():
    images = [photograph(size, seed=seed) for seed in range(4) for size in ((64, 96), (120, 80), (12, 12))]
    alone = [tokens(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)).tolist() for image in images]
    assert len({tuple(one) for one in alone}) == 9  # none of the smallest has any
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda image: fingerprint(image).parts.tolist(), images * 8))
    assert together == alone * 8
