"""Correlations of the cells of matrices, from sums of products."""

import numpy as np

from .significance import Array


def correlations(weight: float, sums: Array, products: Array) -> Array:
    """Give the matrix of linear correlations.

    Parameters
    ----------
    weight
        Sum of the weights of all events.
    sums
        (cells,): sums of weight x cell.
    products
        (cells, cells): sums of weight x cell x cell, on the diagonal and above it.

    Returns
    -------
    Array
        (cells, cells), symmetric; NaN for a cell that does not vary, or whose variance is negative because
        negative weights prevail.
    """
    if not weight > 0:
        return np.full(products.shape, np.nan)
    whole = np.triu(products) + np.triu(products, 1).T
    mean = sums / weight
    covariance = whole / weight - np.outer(mean, mean)
    variance = covariance.diagonal()
    # What rounding leaves of the variance of a constant is no variance.
    varies = variance > 1e-12 * whole.diagonal() / weight
    deviation = np.where(varies, np.sqrt(np.maximum(variance, 0)), np.nan)
    found: Array = np.clip(covariance / np.outer(deviation, deviation), -1, 1)
    return found
