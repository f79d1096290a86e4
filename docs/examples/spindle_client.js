// A client of Spindle's WebSocket: streams replies, stops them, and goes on after a lost connection.
//
// It runs in browsers and node 22, with a key. docs/protocol.md tells what goes over the wire.
//
//   const spindle = new Spindle({ key: "…" });
//   const reply = spindle.start({ messages: [{ role: "user", content: "Hello?" }] });
//   for await (const text of reply) console.log(text);
//   console.log(reply.end.usage);
//   spindle.close();

class Reply {
  constructor(spindle, asked) {
    Object.assign(this, { spindle, asked, id: asked.id, last: 0, end: null, cancelled: false });
    this.news = [];
    this.wake = () => {};
  }

  // Stop it; what was said stays.
  cancel() {
    this.cancelled = true;
    this.spindle.send({ type: "cancel", stream: this.id });
  }

  hear(event) {
    this.news.push(event);
    this.wake();
  }

  // All that is told of it; throws where it failed.
  async *events() {
    while (!this.end) {
      if (!this.news.length) await new Promise((done) => (this.wake = done));
      const event = this.news.shift();
      if (event.type === "error") throw Object.assign(new Error(event.error.message), event.error);
      if (event.type === "done") this.end = event;
      yield event;
    }
  }

  // Its text. A modifier may "replace" all of it: see the protocol.
  async *[Symbol.asyncIterator]() {
    for await (const event of this.events())
      if (event.type === "delta" && (event.channel ?? "text") === "text") yield event.text;
  }
}

// A connection that is made again when it is lost; replies go on where they were.
export class Spindle {
  constructor({ address = "ws://127.0.0.1:7860/api/ws", key = "" } = {}) {
    Object.assign(this, { address, key, replies: new Map(), closed: false });
    this.connect();
  }

  start(fields) {
    const id = [...crypto.getRandomValues(new Uint8Array(12))].map((n) => n.toString(36)).join("");
    const reply = new Reply(this, { type: "start", id, ...fields });
    this.replies.set(reply.id, reply);
    this.send(reply.asked);
    return reply;
  }

  close() {
    this.closed = true;
    this.socket.close();
  }

  // What cannot be sent now is said when there is a connection again.
  send(frame) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(frame));
  }

  connect() {
    this.socket = new WebSocket(this.address, this.key ? [`spindle.key.${this.key}`] : []);
    this.socket.onopen = () => {
      for (const { id, last } of this.replies.values())
        this.send({ type: "resume", stream: id, last_seq: last });
    };
    this.socket.onmessage = ({ data }) => this.hear(JSON.parse(data));
    this.socket.onerror = () => {}; // It is closed after it.
    this.socket.onclose = ({ code, reason: message }) => {
      if (code !== 1008) return this.closed || setTimeout(() => this.connect(), 200);
      for (const reply of this.replies.values()) reply.hear({ type: "error", error: { message } });
    };
  }

  hear(event) {
    const reply = this.replies.get(event.stream);
    const code = event.seq === 0 ? event.error?.code : undefined;
    if (!reply) return;
    if (code === "stream_not_found" && !reply.last) return this.send(reply.asked); // Never arrived.
    if (code === "stream_exists") // It did, and the answer was lost.
      return this.send({ type: "resume", stream: reply.id, last_seq: reply.last });
    if (event.seq !== reply.last + 1 && !code && event.type !== "waiting") return; // Sent again.
    reply.last = Math.max(reply.last, event.seq);
    reply.hear(event);
    if (event.type === "done" || event.type === "error") this.replies.delete(reply.id);
    else if (reply.cancelled) reply.cancel(); // Perhaps the word was lost.
  }
}
