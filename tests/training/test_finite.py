"""Values that are not finite end a run, and the advice names a checkpoint only where there is one."""

from __future__ import annotations

import math
import pickle

import pytest

from mea_plugin.optim import NonFiniteGradientError
from mea_plugin.training.finite import check_finite, finite_gradients
from tests.helpers import refused

ERROR = NonFiniteGradientError('in the first pass, 1. 5 of 12 values are not finite', do='Lower rho')


@pytest.mark.parametrize('saved', [False, True])
@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
def test_the_first_value_is_named(value, saved):
    with refused('iteration 7', 'l_hf', str(value)) as error:
        check_finite({'l_pix': 1.0, 'l_hf': value, 'l_gan': math.nan}, 7, lambda: saved)
    assert ('checkpoint' in error.value.do) == saved


def test_nobody_looks_for_a_checkpoint_while_all_is_well():
    asked = []
    with finite_gradients(dict, 1, lambda: asked.append(1)):
        check_finite({'l_pix': 1.0}, 1, lambda: asked.append(1))
    assert asked == []


def test_a_gradient_is_named_where_all_terms_are_finite():
    with refused('iteration 3', ERROR.what), finite_gradients(lambda: {'l_pix': 1.0}, 3, lambda: False):
        raise ERROR  # whose text is kept uncut, full stops and all


def test_a_term_is_named_before_the_gradient_that_it_spoilt():
    with refused('iteration 3', 'l_pix', 'nan'), finite_gradients(lambda: {'l_pix': math.nan}, 3, lambda: True):
        raise ERROR


def test_the_error_keeps_its_fields_in_another_process():
    other = pickle.loads(pickle.dumps(ERROR))
    assert (other.what, other.do, str(other)) == (ERROR.what, ERROR.do, str(ERROR))
