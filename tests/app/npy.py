"""The two .npy shapes of these tests, without numpy: integers in, floats out."""
import ast
import struct
from array import array
from pathlib import Path


def write_ids(path, ids):
    header = f"{{'descr': '<i4', 'fortran_order': False, 'shape': ({len(ids)},), }}"
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    Path(path).write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode() + array("i", ids).tobytes())


def read(path):
    """(shape, flat values)"""
    data = Path(path).read_bytes()
    size = struct.unpack_from("<H", data, 8)[0]
    header = ast.literal_eval(data[10:10 + size].decode())
    values = array({"<f4": "f", "<i4": "i"}[header["descr"]])
    values.frombytes(data[10 + size:])
    return header["shape"], values
