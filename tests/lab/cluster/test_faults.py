"""Every component can be stopped, killed and started again, and the cluster is whole afterwards."""

from __future__ import annotations

import pytest

from penstock_lab.cluster import ClusterError
from penstock_lab.cluster.spec import COMPONENTS
from waiting import eventually


def component(cluster, name):
    return next(part for part in cluster.status()["components"] if part["name"] == name)


@pytest.mark.parametrize("name", COMPONENTS)
def test_killed_and_started_again(cluster, kubectl, name):
    before = component(cluster, name)
    cluster.kill(name)
    killed = component(cluster, name)
    assert killed["pid"] is None
    assert killed["state"] == "ended with SIGKILL"
    assert not cluster.status()["health"][name]
    with pytest.raises(ClusterError, match=f"cannot kill {name}: it does not run"):
        cluster.kill(name)
    cluster.start(name)
    after = component(cluster, name)
    assert after["pid"] != before["pid"]
    assert after["port"] == before["port"]
    eventually(lambda: all(cluster.status()["health"].values()), what=f"all well after {name} was started again")
    assert "node" in kubectl("get", "nodes", "--output=name")


def test_stopped_in_order_and_started_again(cluster):
    cluster.stop("prometheus")
    assert component(cluster, "prometheus")["state"] == "stopped"
    cluster.stop("prometheus")  # again: nothing to do
    cluster.start("prometheus")
    pid = component(cluster, "prometheus")["pid"]
    cluster.start("prometheus")
    assert component(cluster, "prometheus")["pid"] == pid


def test_an_unknown_component_is_named_with_the_known_ones(cluster):
    with pytest.raises(ClusterError, match="no component 'etcdd' in this cluster; it has etcd, kube-apiserver"):
        cluster.stop("etcdd")
