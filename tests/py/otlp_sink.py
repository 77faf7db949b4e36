"""What stands behind a collector: takes what it exports, and says what is in it, one JSON object a line for each span.
The first line says where it listens, and where the collector's program is.

Spans are read by the messages that OpenTelemetry publishes (protobuf, not its JSON), and their names held against the
registry of its conventions: `unknown` lists attributes and values that it does not know.
"""

import gzip
import http.server
import importlib.util
import json

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes

REGISTRY = {
    value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_") and isinstance(value, str)
}
OPERATIONS = {value.value for value in gen_ai_attributes.GenAiOperationNameValues}
# In the registry still, and not to be used any more.
RETIRED = {"gen_ai.system", "gen_ai.prompt", "gen_ai.completion", "gen_ai.usage.prompt_tokens", "gen_ai.usage.completion_tokens"}


def values(attributes):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def unknown(attributes):
    names = [name for name in attributes if name.startswith("gen_ai.") and name not in REGISTRY - RETIRED]
    operation = attributes.get("gen_ai.operation.name")
    return names + ([] if operation is None or operation in OPERATIONS else [operation])


def report(request):
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                attributes = values(span.attributes)
                print(
                    json.dumps(
                        {
                            "resource": values(resource.resource.attributes),
                            "scope": scope.scope.name,
                            "trace": span.trace_id.hex(),
                            "id": span.span_id.hex(),
                            "parent": span.parent_span_id.hex(),
                            "name": span.name,
                            "kind": Span.SpanKind.Name(span.kind),
                            "status": Status.StatusCode.Name(span.status.code),
                            "start": span.start_time_unix_nano,
                            "end": span.end_time_unix_nano,
                            "attributes": attributes,
                            "unknown": unknown(attributes),
                        }
                    ),
                    flush=True,
                )


class Sink(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers["content-encoding"] == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest()
        request.ParseFromString(body)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        report(request)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
rotel = importlib.util.find_spec("rotel").submodule_search_locations[0]
print(json.dumps({"port": server.server_address[1], "collector": f"{rotel}/rotel-agent"}), flush=True)
server.serve_forever()
