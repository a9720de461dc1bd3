"""The section classes beside BasicSR's source: every key that it looks up is in the class of the dict it belongs to."""

import ast
import importlib.metadata
import inspect
import textwrap

import basicsr.data
import basicsr.models
import basicsr.test
import basicsr.train
import pytest
from basicsr.models.base_model import BaseModel
from basicsr.utils import logger, misc, options

from mea_plugin.basicsr.checks.sections.classes import DATASETS, MODELS
from mea_plugin.basicsr.checks.sections.data import DatasetOptions
from mea_plugin.basicsr.checks.sections.file import LoggerOptions, ModelFile, ModelPath, ModelVal, WandbOptions
from mea_plugin.basicsr.checks.sections.train import ModelTrain

TRAIN = dict.fromkeys(('train_opt', "self.opt['train']", "opt['train']"), 'train')
MODEL = {'opt': 'top', 'self.opt': 'top', "self.opt['path']": 'path', "self.opt['val']": 'val', **TRAIN}
LOOP = {
    'opt': 'top', "opt['path']": 'path', "opt['val']": 'val', "opt['train']": 'train', "opt['logger']": 'logger',
    "opt['logger']['wandb']": 'wandb', 'dataset_opt': 'data', 'dataset': 'data', "opt['datasets']['train']": 'data',
}  # fmt: skip
DATA = {'opt': 'data', 'self.opt': 'data'}

# What the loop itself puts there before anybody looks.
SET_BY_THE_LOOP = {
    'top': {'auto_resume', 'dist', 'is_train', 'rank', 'root_path', 'world_size'},
    'path': {'experiments_root', 'log', 'models', 'results_root', 'training_states', 'visualization'},
    'data': {'phase', 'scale'},
}


def looked_up(target, receivers):
    """The keys that a function, or a class with its bases, looks up in each of the dicts."""
    found = {name: set() for name in receivers.values()}
    sources = inspect.getmro(target) if inspect.isclass(target) else (target,)
    for source in (one for one in sources if one.__module__.split('.')[0] not in ('builtins', 'torch', 'typing')):
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(source)))):
            receiver, key = lookup(node)
            if receiver in receivers:
                found[receivers[receiver]].add(key)
    return found


def lookup(node):
    """``opt['key']``, ``opt.get('key')``, ``opt.pop('key')`` or ``'key' in opt``."""
    if isinstance(node, ast.Subscript):
        receiver, key = node.value, node.slice
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ('get', 'pop'):
        receiver, key = node.func.value, node.args[0] if node.args else None
    elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
        receiver, key = node.comparators[0], node.left
    else:
        return None, None
    named = isinstance(key, ast.Constant) and isinstance(key.value, str)
    return (ast.unparse(receiver), key.value) if named else (None, None)


def test_it_is_the_version_whose_source_was_read():
    assert importlib.metadata.version('basicsr') == '1.4.2'


def test_the_oracle_sees_lookups():
    def reads(opt):
        return opt['a'], opt.get('b'), opt.pop('c'), 'd' in opt, opt[opt['e']]

    assert looked_up(reads, {'opt': 'top'}) == {'top': set('abcde')}


LOOPS = (
    *(basicsr.train.init_tb_loggers, basicsr.train.create_train_val_dataloader, basicsr.train.load_resume_state),
    *(basicsr.train.train_pipeline, basicsr.test.test_pipeline, basicsr.data.build_dataset),
    *(basicsr.data.build_dataloader, options.parse_options, logger.MessageLogger, logger.init_wandb_logger),
    *(misc.make_exp_dirs, misc.check_resume, basicsr.models.build_model),
)
SECTIONS = {
    'top': ModelFile, 'path': ModelPath, 'val': ModelVal, 'train': ModelTrain, 'logger': LoggerOptions,
    'wandb': WandbOptions, 'data': DatasetOptions,
}  # fmt: skip
# Whether there is one is up to the data set: parse_options expands them where they are.
EXPANDED = {'dataroot_gt', 'dataroot_lq'}


def read_by_the_loops():
    found = {name: set() for name in SECTIONS}
    for target in LOOPS:
        for name, keys in looked_up(target, LOOP).items():
            found[name] |= keys
    return found


def test_what_basicsr_s_loop_looks_up_is_known():
    for name, keys in read_by_the_loops().items():
        assert keys - SET_BY_THE_LOOP.get(name, set()) - EXPANDED <= set(SECTIONS[name].model_fields), name


# Keys that a class inherits lookups of, in methods that it replaces.
REPLACED = {
    ('VideoRecurrentGANModel', 'train'): {'flow_lr_mul'},  # its setup_optimizers gives the flow network its own rate
    ('StyleGAN2Model', 'val'): {'metrics'},  # BaseModel's are for models that measure
}
# Read in another form than a lookup in the dict itself.
OTHERWISE = {
    'top': {'datasets', 'dist_params', 'find_unused_parameters', 'logger', 'name', 'path', 'train', 'val'},
    'train': {'extra_losses'},  # where losses are built
}


@pytest.mark.parametrize('model', MODELS, ids=lambda model: model.__name__)
def test_each_model_s_sections_are_what_it_looks_up(model):
    found, loops = looked_up(model, MODEL), read_by_the_loops()
    for name, kind in zip(('top', 'path', 'train', 'val'), MODELS[model], strict=True):
        known, replaced = set(kind.model_fields), REPLACED.get((model.__name__, name), set())
        assert found[name] - SET_BY_THE_LOOP.get(name, set()) - replaced <= known, name
        assert replaced <= found[name] - known, name
        if model is not BaseModel:  # whose sections are those of models of others, and allow what most models read
            assert known <= found[name] | loops[name] | OTHERWISE.get(name, set()), name


@pytest.mark.parametrize('dataset', DATASETS, ids=lambda dataset: dataset.__name__)
def test_each_data_set_s_section_is_what_it_looks_up(dataset):
    read = looked_up(dataset, DATA)['data'] - SET_BY_THE_LOOP['data']
    known = set(DATASETS[dataset].model_fields)
    assert read <= known
    assert known - read <= set(DatasetOptions.model_fields)


def test_every_registered_class_of_basicsr_has_a_section():
    from basicsr.utils.registry import DATASET_REGISTRY, MODEL_REGISTRY

    for registry, known in ((MODEL_REGISTRY, MODELS), (DATASET_REGISTRY, DATASETS)):
        for _, item in registry:
            if item.__module__.startswith(('basicsr', 'mea_plugin')):
                assert set(inspect.getmro(item)) & set(known), item
