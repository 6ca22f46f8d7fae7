"""Opens the first packets of QUIC connections, as anybody on the way can: their keys follow from
what stands in them (RFC 9001 §5.2). What is inside must be as silent as what is outside."""

import hashlib
import hmac

SALT = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")
VERSION = b"\0\0\0\1"


def openings(datagrams):
    """Returns what stands in the Initial packets of both sides: lists of frames as bytes."""
    keys, found = {}, []
    for one in datagrams:
        ends = (one.source, one.sport, one.target, one.dport)
        back = (one.target, one.dport, one.source, one.sport)
        for header in initials(one.payload):
            plain = None
            if ends in keys:
                plain = header.open(keys[ends])
            elif back in keys:
                plain = header.open(keys[back][::-1])
            if plain is None:
                # A new connection between these ends: this is its first packet.
                pair = secrets(header.target)
                plain = header.open(pair)
                if plain is not None:
                    keys[ends] = pair
            if plain is not None:
                found.append(plain.rstrip(b"\0"))
    return found


class Header:
    """An Initial packet that is still closed."""

    def __init__(self, packet, target, number_at, end):
        self.packet, self.target, self.number_at, self.end = packet, target, number_at, end

    def open(self, pair):
        """Returns the plain frames, or nothing if the keys are others. `pair`: sender's keys first."""
        key, iv, mask_key = pair[0]
        sample = self.packet[self.number_at + 4:self.number_at + 20]
        mask = encrypt(mask_key, sample)
        first = self.packet[0] ^ (mask[0] & 0x0F)
        length = (first & 3) + 1
        number = bytes(a ^ b for a, b in zip(self.packet[self.number_at:self.number_at + length], mask[1:]))
        start = self.number_at + length
        sealed = self.packet[start:self.end - 16]
        nonce = bytes(a ^ b for a, b in zip(iv, number.rjust(12, b"\0")))
        plain = bytearray()
        for at in range(0, len(sealed), 16):
            stream = encrypt(key, nonce + (2 + at // 16).to_bytes(4, "big"))
            plain += bytes(a ^ b for a, b in zip(sealed[at:at + 16], stream))
        # Frames of a handshake: PADDING, PING, ACK, CRYPTO, CONNECTION_CLOSE. The tag is not
        # checked; reserved bits and the frame's kind tell wrong keys from right ones.
        if first & 0x0C or not plain or plain[0] not in (0, 1, 2, 3, 6, 0x1C):
            return None
        return bytes(plain)


def initials(payload):
    """Returns the Initial packets of a datagram; several may share it."""
    while len(payload) > 40 and payload[0] & 0x80 and payload[1:5] == VERSION:
        at = 5
        target = payload[at + 1:at + 1 + payload[at]]
        at += 1 + len(target)
        at += 1 + payload[at]
        kind = payload[0] >> 4 & 3
        if kind == 3:
            return
        if kind == 0:
            token, at = varint(payload, at)
            at += token
        length, at = varint(payload, at)
        end = at + length
        if end > len(payload) or length < 21:
            return
        if kind == 0:
            yield Header(payload[:end], bytes(target), at, end)
        payload = payload[end:]


def varint(bytes, at):
    length = 1 << (bytes[at] >> 6)
    value = int.from_bytes(bytes[at:at + length], "big") & ((1 << (8 * length - 2)) - 1)
    return value, at + length


def secrets(target):
    """Returns the client's and the server's keys for a connection."""
    common = hmac.new(SALT, target, hashlib.sha256).digest()
    pair = []
    for label in ("client in", "server in"):
        secret = expand(common, label, 32)
        pair.append((expand(secret, "quic key", 16), expand(secret, "quic iv", 12), expand(secret, "quic hp", 16)))
    return tuple(pair)


def expand(secret, label, length):
    label = b"tls13 " + label.encode()
    info = length.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
    return hmac.new(secret, info + b"\1", hashlib.sha256).digest()[:length]


# AES-128, one block at a time (FIPS 197). Slow, and there are few packets to open.

def tables():
    box, p, q = [0] * 256, 1, 1
    while True:
        p ^= (p << 1) ^ (0x11B if p & 0x80 else 0)
        p &= 0xFF
        q ^= q << 1
        q ^= q << 2
        q ^= q << 4
        q &= 0xFF
        q ^= 0x09 if q & 0x80 else 0
        rotated = q ^ (q << 1 | q >> 7) ^ (q << 2 | q >> 6) ^ (q << 3 | q >> 5) ^ (q << 4 | q >> 4)
        box[p] = (rotated ^ 0x63) & 0xFF
        if p == 1:
            break
    box[0] = 0x63
    return box


BOX = tables()
SHIFT = [0, 5, 10, 15, 4, 9, 14, 3, 8, 13, 2, 7, 12, 1, 6, 11]
SCHEDULES = {}


def schedule(key):
    words, round = [key[at:at + 4] for at in range(0, 16, 4)], 1
    for at in range(4, 44):
        word = words[-1]
        if at % 4 == 0:
            word = bytes(BOX[b] for b in word[1:] + word[:1])
            word = bytes([word[0] ^ round]) + word[1:]
            round = round << 1 ^ (0x11B if round & 0x80 else 0)
        words.append(bytes(a ^ b for a, b in zip(words[at - 4], word)))
    return [b"".join(words[at:at + 4]) for at in range(0, 44, 4)]


def double(b):
    return b << 1 ^ (0x11B if b & 0x80 else 0)


DOUBLE = [double(b) for b in range(256)]


def encrypt(key, block):
    keys = SCHEDULES.get(key) or SCHEDULES.setdefault(key, schedule(key))
    state = [a ^ b for a, b in zip(block, keys[0])]
    for number in range(1, 11):
        state = [BOX[state[at]] for at in SHIFT]
        if number < 10:
            mixed = []
            for at in range(0, 16, 4):
                a, b, c, d = state[at:at + 4]
                all = a ^ b ^ c ^ d
                mixed += [a ^ all ^ DOUBLE[a ^ b], b ^ all ^ DOUBLE[b ^ c],
                          c ^ all ^ DOUBLE[c ^ d], d ^ all ^ DOUBLE[d ^ a]]
            state = mixed
        state = [a ^ b for a, b in zip(state, keys[number])]
    return bytes(state)


def check():
    """The cipher and the keys against their published examples."""
    assert encrypt(bytes(range(16)), bytes.fromhex("00112233445566778899aabbccddeeff")).hex() == \
        "69c4e0d86a7b0430d8cdb78070b4c55a", "FIPS 197, C.1"
    client, server = secrets(bytes.fromhex("8394c8f03e515708"))
    assert client[0].hex() == "1f369613dd76d5467730efcbe3b1a22d", "RFC 9001, A.1"
    assert server[2].hex() == "c206b8d9b9f0f37644430b490eeaa314", "RFC 9001, A.1"
