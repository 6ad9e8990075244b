"""A node agent: one process that acts as several kubelets whose containers are local processes.

What a kubelet does for a pod, the agent does for processes: it registers Nodes, runs what the scheduler binds to
them, probes, restarts with back-off, drains with preStop and grace, and reports status truthfully. What it cannot do
it says: there is no mount namespace (paths below an image's or a volume's mount point are rewritten to real folders in
command, args and env values, and nowhere else), no user or network namespace (each pod has its own loopback
address), no memory limit, and a CPU limit is a scheduling weight. Sidecar init containers, gRPC probes and volume
types without a local meaning are refused with a message in the pod's status or events.

Invariant: no process of a pod outlives the agent, whatever ends the agent.
"""
