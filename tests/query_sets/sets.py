"""A query set, made without asking anybody."""

from mea_plugin.core.files import hash_array, write_json
from mea_plugin.core.images import write_png
from tests.helpers import photograph


def make_set(folder, sizes, scale=2):
    """A complete query set of a victim that repeats pixels."""
    pairs = []
    for index, (name, size) in enumerate(sizes.items()):
        query = photograph(size, index)
        response = query.repeat(scale, 0).repeat(scale, 1)
        write_png(folder / 'query' / f'{index:06d}.png', query)
        write_png(folder / 'response' / f'{index:06d}.png', response)
        entry = {'id': f'{index:06d}', 'name': name, 'query': hash_array(query), 'response': hash_array(response)}
        pairs.append({**entry, 'size': list(response.shape[:2])})
    lines = ['{}.png ({},{},3)\n'.format(pair['id'], *pair['size']) for pair in pairs]
    (folder / 'meta_info.txt').write_text(''.join(lines))
    description = {'victim': {'name': 'doubler', 'scale': scale, 'fingerprint': 'f'}, 'shrink': 1}
    names = list(sizes)
    manifest = {'format': 1, 'description': description, 'names': names, 'options': {'a': 1}, 'complete': True}
    write_json(folder / 'manifest.json', {**manifest, 'pairs': pairs})
    return folder
