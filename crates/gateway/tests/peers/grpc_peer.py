"""A service of gRPC, and a client that calls it in every way; messages are plain bytes."""

import sys
import time
from concurrent import futures

import grpc

NAME = "juchu.test.Peer"


def unary(request, context):
    context.set_trailing_metadata((("x-seen", request.decode()),))
    return request.upper()


def server_stream(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def client_stream(requests, context):
    return b" ".join(requests)


def both(requests, context):
    for request in requests:
        yield request[::-1]


def refuse(request, context):
    context.abort(grpc.StatusCode.UNAVAILABLE, "not now")


def fail(request, context):
    raise RuntimeError("on purpose")


def slow(request, context):
    time.sleep(30)
    return b""


def serve():
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
        "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
        "Both": grpc.stream_stream_rpc_method_handler(both),
        "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Slow": grpc.unary_unary_rpc_method_handler(slow),
    }
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    # Ends with the test that holds the other end.
    sys.stdin.read()
    server.stop(0)


def error_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError("it did not fail")


def calls(address):
    channel = grpc.insecure_channel(address)
    path = lambda method: f"/{NAME}/{method}"
    unary = channel.unary_unary(path("Unary"))
    answer, call = unary.with_call(b"hello", timeout=10)
    assert answer == b"HELLO", answer
    assert ("x-seen", "hello") in [tuple(item) for item in call.trailing_metadata()], call.trailing_metadata()
    large = b"x" * 3_000_000
    assert unary(large[:1000], timeout=10) == large[:1000].upper()

    numbers = list(channel.unary_stream(path("ServerStream"))(b"1000", timeout=20))
    assert numbers == [str(n).encode() for n in range(1000)], len(numbers)
    joined = channel.stream_unary(path("ClientStream"))(iter([b"a", large, b"b"]), timeout=20)
    assert joined == b"a " + large + b" b", len(joined)

    # Each answer is there before the next question is asked.
    heard = []

    def questions():
        for number in range(50):
            assert len(heard) == number, (len(heard), number)
            yield f"q{number}".encode()
            while len(heard) == number:
                time.sleep(0.001)

    for answer in channel.stream_stream(path("Both"))(questions(), timeout=20):
        heard.append(answer)
    assert heard == [f"q{n}".encode()[::-1] for n in range(50)], heard

    assert error_of(lambda: channel.unary_unary(path("Refuse"))(b"", timeout=10)) == (
        grpc.StatusCode.UNAVAILABLE,
        "not now",
    )
    assert error_of(lambda: channel.unary_unary(path("Fail"))(b"", timeout=10))[0] == grpc.StatusCode.UNKNOWN
    assert error_of(lambda: channel.unary_unary(path("None"))(b"", timeout=10))[0] == grpc.StatusCode.UNIMPLEMENTED
    begun = time.monotonic()
    assert error_of(lambda: channel.unary_unary(path("Slow"))(b"", timeout=0.3))[0] == grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - begun < 5
    print("ok")


def refused(address):
    """The code and the words of a call that the gateway does not let through."""
    channel = grpc.insecure_channel(address)
    code, details = error_of(lambda: channel.unary_unary(f"/{NAME}/Unary")(b"", timeout=10))
    print(f"{code.name}: {details}")


if __name__ == "__main__":
    {"serve": serve, "calls": calls, "refused": refused}[sys.argv[1]](*sys.argv[2:])
