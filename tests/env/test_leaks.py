"""The leak finder reads the chart of every domain: a planted answer is found."""

from dataclasses import replace

import pytest

from medgym.env.domain import load_domain
from medgym.env.domain_ids import domain_names
from medgym.env.leaks import find_leaks
from medgym.tools.record import Problem


@pytest.mark.parametrize("name", domain_names())
def test_an_answer_planted_in_the_chart_is_found(name: str) -> None:
    domain = load_domain(name)
    task = domain.tasks()[0]
    assert list(find_leaks(domain, task)) == []
    chart = replace(task.chart, problems=(*task.chart.problems, Problem(task.key.answers[0])))
    found = {leak.where for leak in find_leaks(domain, replace(task, chart=chart))}
    assert {"get_patient_info", "get_patient_history"} <= found


@pytest.mark.parametrize("name", domain_names())
def test_an_answer_planted_in_the_ticket_is_found(name: str) -> None:
    domain = load_domain(name)
    task = domain.tasks()[0]
    planted = replace(task, ticket=f"{task.ticket}\nIt is {task.key.answers[0]}.")
    assert "ticket" in {leak.where for leak in find_leaks(domain, planted)}
