"""Runs on Kubernetes: what they put there, who conducts them, and what one hears of them."""

from .site import KubernetesSite

__all__ = ["KubernetesSite"]
