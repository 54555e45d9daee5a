// A ServerEvent is one of a stream of server-sent events.
export interface ServerEvent { name: string; id: string; data: string }

// serverEvents reads such a stream (HTML, "Server-sent events"), as EventSource does, but of a
// request of one's own: a token is sent in a header. onHeard is called for all that arrives.
export async function* serverEvents(body: ReadableStream<Uint8Array>, onHeard: () => void): AsyncGenerator<ServerEvent> {
  const reader = body.getReader(), decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    onHeard();
    text += decoder.decode(value, { stream: true });
    const parts = text.split("\n\n");
    text = parts.pop() ?? "";
    for (const part of parts) {
      const event = parsed(part);
      if (event.data) yield event;
    }
  }
}

function parsed(part: string): ServerEvent {
  const event: ServerEvent = { name: "message", id: "", data: "" };
  for (const line of part.split("\n")) {
    const colon = line.indexOf(":"), value = line.slice(colon + 1).replace(/^ /, "");
    switch (line.slice(0, Math.max(colon, 0))) {
      case "event": event.name = value; break;
      case "id": event.id = value; break;
      case "data": event.data += value; break;
    }
  }
  return event;
}
