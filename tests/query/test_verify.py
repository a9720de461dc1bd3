"""What tools/doctor.py finds in a ledger."""

import numpy as np

from mea_plugin.query.ledger import Ledger
from mea_plugin.query.verify import verify_ledger
from tests.helpers import photograph, save
from tests.query.http_runs import make_images, run
from tests.victims.http.service import double


def test_each_kind_of_damage_is_found(server, tmp_path):
    images = make_images(tmp_path / 'images', 5)
    server.reset(double)
    run(server, images, tmp_path)
    assert verify_ledger(tmp_path / 'ledger') == []
    with Ledger(tmp_path / 'ledger') as ledger:
        files = [ledger.pair(query) for query in range(1, 6)]
    files[0][1].unlink()
    save(files[1][1], photograph((16, 20), 9))
    files[2][0].write_bytes(np.arange(9).tobytes())
    found = verify_ledger(tmp_path / 'ledger')
    assert [(one.path, one.queries, one.charges) for one in found] == [
        (files[0][1], 1, 1),
        (files[1][1], 1, 1),
        (files[2][0], 0, 0),
    ]
    with Ledger(tmp_path / 'ledger') as ledger, ledger.transaction() as db:
        db.execute('UPDATE account SET spent = 99')
    (one,) = verify_ledger(tmp_path / 'ledger')
    assert (one.path.name, one.queries) == ('ledger.sqlite', 4)
