"""Places, neighbours, products on the device: the same array code."""

from ..._cpu.features.channels import neighborhood, polynomial, position

__all__ = ["neighborhood", "polynomial", "position"]
