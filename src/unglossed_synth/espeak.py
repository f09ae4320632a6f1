"""Speaks sentences through eSpeak NG; run as a program of its own by `speech`, never imported.

eSpeak keeps a state over all it has said in a process, and does not reset it: only a fresh process
gives the same samples for the same words. So this starts fast and imports nothing but the standard
library. It reads one JSON object from standard input and writes, to standard output, the sampling
rate and for each text its length and 16-bit samples, all little-endian.
"""

import ctypes
import json
import sys

_SYNCHRONOUS = 2
_DO_NOT_EXIT = 0x8000
_UTF8 = 1
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)
PARAMETERS = {"rate": 1, "volume": 2, "pitch": 3, "range": 4}


def main() -> None:
    """Speak what standard input asks for.

    Raises:
        SystemExit: eSpeak refuses; the message says what.
    """
    request = json.loads(sys.stdin.buffer.read())
    library = ctypes.CDLL(request["library"])
    data = request["data"].encode()
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data, _DO_NOT_EXIT)
    if rate <= 0:
        sys.exit(f"espeak_Initialize found no voices in {request['data']}")
    if library.espeak_SetVoiceByName(request["voice"].encode()):
        sys.exit(f"espeak_SetVoiceByName knows no voice {request['voice']}")
    for name, number in PARAMETERS.items():
        library.espeak_SetParameter(number, request[name], 0)
    chunks: list[bytes] = []

    def keep(samples: "ctypes._Pointer[ctypes.c_short]", count: int, events: int) -> int:
        if samples and count > 0:
            chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    callback = _CALLBACK(keep)  # a name for as long as it is used: ctypes keeps none
    library.espeak_SetSynthCallback(callback)
    output = sys.stdout.buffer
    output.write(rate.to_bytes(4, "little"))
    for text in request["texts"]:
        chunks.clear()
        spoken = text.encode()
        if library.espeak_Synth(
            spoken, ctypes.c_size_t(len(spoken) + 1), 0, 1, 0, _UTF8, None, None
        ):
            sys.exit(f"espeak_Synth could not speak {text!r}")
        samples = b"".join(chunks)
        output.write(len(samples).to_bytes(4, "little") + samples)


if __name__ == "__main__":
    main()
