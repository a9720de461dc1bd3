"""Keys in a section where nobody reads them: refused, with the section they belong to; what classes of others name."""

import copy
import itertools
import re
from pathlib import Path
from typing import ClassVar

import pytest
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.models.base_model import BaseModel
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, MODEL_REGISTRY
from torch import nn

import mea_plugin.basicsr
from mea_plugin.basicsr.checks.check import check_options
from mea_plugin.basicsr.checks.places import TOP_LEVEL, check_places, places_of
from mea_plugin.basicsr.checks.sections.classes import DATASETS, MODELS
from mea_plugin.basicsr.models.extraction_model import ExtractionModel
from mea_plugin.basicsr.models.gan_model import ExtractionGANModel
from mea_plugin.core.options import load_options
from tests.basicsr.steps import SAM_OPT, UNET
from tests.helpers import refused, training_options

FOLDER = Path(mea_plugin.basicsr.__file__).parents[2] / 'options' / 'basicsr'
DISK, LOSS = {'type': 'disk'}, {'type': 'L1Loss'}
HF = {'type': 'HighFrequencyLoss'}


def full(model, dataset):
    """A file in which every section stands that a model may have."""
    options = training_options('lq', 'gt', optim_g=dict(SAM_OPT), optim_d={'type': 'Adam', 'lr': 1e-3})
    options |= {'model_type': model.__name__, 'network_d': dict(UNET), 'path': {}, 'dist_params': {}}
    options['train'] |= {'perceptual_opt': {'type': 'PerceptualLoss'}, 'gan_opt': {'type': 'GANLoss'}, 'compile': {}}
    options['train'] |= {'hf_opt': dict(HF)}
    options['logger']['wandb'] = {}
    options['val'] = {'metrics': {'psnr': {'type': 'calculate_psnr', 'reference': 'gt'}}}
    options['datasets']['val'] = {'name': 'v', 'type': dataset, 'io_backend': dict(DISK)}
    for place in list(places_of(options, model)):  # what the model does not have goes
        for key in set(place.section or ()) - (place.keys or set()):
            del place.section[key]
    return options


def at(options, path):
    for key in filter(None, path.split('.')):
        options = options[key]
    return options


MATRIX = list(
    itertools.zip_longest([one for one in MODELS if one is not BaseModel], DATASETS, fillvalue=ExtractionModel)
)


@pytest.mark.parametrize(
    ('model', 'dataset'), MATRIX, ids=[f'{one.__name__}-{other.__name__}' for one, other in MATRIX]
)
def test_each_key_is_known_in_its_own_section_and_in_no_other(model, dataset):
    options = full(model, dataset.__name__)
    places = [place for place in places_of(options, model) if place.keys is not None]
    check_places(options, model, 'x.yml')
    assert {'', 'path', 'train', 'val', 'logger', 'logger.wandb', 'dist_params'} < {place.path for place in places}
    assert {'network_g', 'train.optim_g', 'train.scheduler', 'datasets.train'} < {place.path for place in places}
    keys = set().union(*(place.keys for place in places))
    for place in places:
        section = at(options, place.path)
        for key in keys - section.keys():
            section[key] = None
            if key in place.keys:
                check_places(options, model, 'x.yml')
            else:
                with refused(f'x.yml: {place.path}' if place.path else 'x.yml', repr(key)) as error:
                    check_places(options, model, 'x.yml')
                homes = {f'{one.path}.{key}' if one.path else TOP_LEVEL for one in places if key in one.keys}
                named = set(re.findall(rf'\S+\.{key}\b|{TOP_LEVEL}', error.value.do))
                assert named <= homes
                assert len(named) == min(len(homes), 3)
            del section[key]


MISPLACED = [
    ('train.pretrain_network_g', 'no_such_file.pth', 'path.pretrain_network_g'),
    ('pretrain_network_g', 'no_such_file.pth', 'path.pretrain_network_g'),
    ('ema_decay', 0.999, 'train.ema_decay'),
    ('optim_g', dict(SAM_OPT), 'train.optim_g'),
    ('strict_load_g', False, 'path.strict_load_g'),
    ('datasets.train.total_iter', 5, 'train.total_iter'),
    ('datasets.train.scale', 2, TOP_LEVEL),
    ('network_g.gt_size', 64, 'datasets.train.gt_size'),
    ('train.lr', 1e-4, 'train.optim_g.lr'),
    ('train.optim_g.total_iter', 5, 'train.total_iter'),
    ('train.scheduler.warmup_iter', 5, 'train.warmup_iter'),
    ('train.pixel_opt.hf_schedule', 'lr', 'train.hf_schedule'),
    ('val_freq', 5, 'val.val_freq'),
    ('logger.project', 'mine', 'logger.wandb.project'),
    ('path.network_g', {}, TOP_LEVEL),
]


@pytest.mark.parametrize(('path', 'value', 'home'), MISPLACED, ids=[path for path, _, _ in MISPLACED])
def test_a_misplaced_key_is_sent_to_its_section(path, value, home):
    options = training_options('lq', 'gt')
    options.setdefault('path', {})
    section, _, key = path.rpartition('.')
    at(options, section)[key] = value
    with refused(f'x.yml: {section}' if section else 'x.yml', repr(key), do=home):
        check_options(options, where='x.yml', data=False)


@pytest.mark.parametrize('key', ['use_shuffle', 'shuffle'])
def test_a_key_that_nobody_reads_leads_to_no_other(key):
    options = training_options('lq', 'gt')
    options['datasets']['train'][key] = False
    with refused('x.yml: datasets.train', repr(key)) as error:
        check_options(options, where='x.yml', data=False)
    assert "'" not in error.value.do
    assert 'train.' not in error.value.do


@pytest.mark.parametrize('key', ['is_train', 'rank', 'world_size', 'dist', 'root_path', 'auto_resume'])
def test_what_the_loop_sets_itself_is_no_option(key):
    with refused('x.yml', repr(key)):
        check_options({**training_options('lq', 'gt'), key: 0}, where='x.yml', data=False)


def test_a_network_that_swallows_options_is_checked_all_the_same():
    options = training_options('lq', 'gt')
    options['network_g'] = {'type': 'SwinIR', 'upscale': 4, 'widow_size': 8}
    with refused('x.yml: network_g', "'widow_size'", do="'window_size'"):
        check_options(options, where='x.yml', data=False)


@pytest.mark.parametrize(
    ('model', 'key', 'instead'),
    [
        ('SRModel', 'hf_opt', 'ExtractionModel'),
        ('SRModel', 'gan_mode', 'ExtractionGANModel'),
        ('ExtractionModel', 'ldl_opt', 'ExtractionGANModel'),
        ('SRGANModel', 'amp', 'ExtractionGANModel'),
    ],
)
def test_keys_of_this_package_s_models_name_the_model(model, key, instead):
    options = training_options('lq', 'gt', **{key: None})
    with refused('x.yml: train', repr(key)) as error:
        check_options({**options, 'model_type': model}, where='x.yml', data=False)
    assert instead in re.split(r'\W+', error.value.do)


@pytest.mark.parametrize('file', sorted(FOLDER.rglob('*.yml')), ids=lambda file: str(file.relative_to(FOLDER)))
def test_all_option_files_stand_in_their_sections(file):
    options = load_options(file)
    model = MODEL_REGISTRY.get(options['model_type']) if 'model_type' in options else ExtractionGANModel
    check_places(options, model, str(file))


class Theirs(ExtractionModel):
    """A model of others that names what it reads."""

    option_keys: ClassVar = {
        'top': ('their_option', 'network_e'),
        'train': ('their_weight',),
        'path': ('pretrain_network_e',),
    }


class Derived(Theirs):
    option_keys: ClassVar = {'train': ('more',)}


class Silent(SRModel):
    """A model of others that names nothing."""


class TheirImages(PairedImageDataset):
    option_keys: ClassVar = {'datasets': ('their_folder',)}


class TheirNetwork(nn.Module):
    def __init__(self, width):
        super().__init__()


class AnyNetwork(nn.Module):
    def __init__(self, **anything):
        super().__init__()


@pytest.fixture
def theirs():
    items = [(MODEL_REGISTRY, (Theirs, Derived, Silent)), (DATASET_REGISTRY, (TheirImages,))]
    items += [(ARCH_REGISTRY, (TheirNetwork, AnyNetwork))]
    pairs = [(registry, item) for registry, classes in items for item in classes]
    for registry, item in pairs:
        registry.register(item)
    yield training_options('lq', 'gt')
    for registry, item in pairs:
        registry._obj_map.pop(item.__name__)


def refuse(options, where, key, do):
    with refused(f'x.yml: {where}', repr(key), do=do):
        check_options(options, where='x.yml', data=False)


@pytest.mark.parametrize('model', ['Theirs', 'Derived'])
def test_a_model_of_others_may_name_its_keys_and_inherits_those_of_its_base(theirs, model):
    theirs |= {'model_type': model, 'their_option': 1, 'network_e': {'type': 'TheirNetwork', 'width': 3}}
    theirs['path'] = {'pretrain_network_e': 'x', 'pretrain_network_g': 'y'}
    theirs['train'] |= {'their_weight': 2, 'hf_opt': dict(HF), 'ema_decay': 0.9}
    check_options(copy.deepcopy(theirs), where='x.yml', data=False)
    wrong = copy.deepcopy(theirs)
    wrong['train']['their_option'] = 1
    refuse(wrong, 'train', 'their_option', TOP_LEVEL)
    wrong = copy.deepcopy(theirs)
    wrong['train']['their_wait'] = 1
    refuse(wrong, 'train', 'their_wait', "'their_weight'")
    wrong = copy.deepcopy(theirs)
    wrong['train']['ema_decay'] = 3
    with refused('x.yml: train.ema_decay', '3'):
        check_options(wrong, where='x.yml', data=False)
    wrong = copy.deepcopy(theirs)
    wrong['network_e']['with'] = 3
    refuse(wrong, 'network_e', 'with', "'width'")


def test_keys_of_a_derived_class_are_its_own(theirs):
    theirs['train']['more'] = 1
    check_options({**copy.deepcopy(theirs), 'model_type': 'Derived'}, where='x.yml', data=False)
    refuse({**theirs, 'model_type': 'Theirs'}, 'train', 'more', '')


def test_a_model_of_others_that_names_nothing_passes(theirs):
    theirs |= {'model_type': 'Silent', 'their_option': 1, 'network_x': {'type': 'AnyNetwork', 'anything': 3}}
    theirs['train']['their_weight'] = 2
    check_options(theirs, where='x.yml', data=False)


def test_a_data_set_of_others_may_name_its_keys(theirs):
    train = theirs['datasets']['train']
    train |= {'type': 'TheirImages', 'their_folder': 'x'}
    check_options(theirs, where='x.yml', data=False)
    train['their_file'] = train.pop('their_folder')
    refuse(theirs, 'datasets.train', 'their_file', 'their_folder')
