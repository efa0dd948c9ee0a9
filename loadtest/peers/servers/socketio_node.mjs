// Socket.IO with its Redis adapter.
//
//   socketio_node.mjs serve REDIS PORT            a client joins the rooms of its query string
//   socketio_node.mjs publish REDIS ROOM TEXT     one event, as a user's program emits it
//
// Runs in the peers' own folder, beside its node_modules.

import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { Emitter } from "@socket.io/redis-emitter";
import { Redis } from "ioredis";
import { Server } from "socket.io";

/** WebSocket only (no polling), no compression, the first request of a socket let go. */
function serve(redis, port) {
  const http = createServer();
  const io = new Server(http, {
    adapter: createAdapter(new Redis(redis), new Redis(redis)),
    transports: ["websocket"],
    perMessageDeflate: false,
    serveClient: false,
  });
  io.on("connection", (socket) => {
    socket.join(socket.handshake.query.rooms.split(","));
    socket.conn.request = null; // their guide's advice for memory
  });
  http.listen(port, "127.0.0.1");
}

/** The documented way for another process. */
async function publish(redis, room, text) {
  const client = new Redis(redis);
  new Emitter(client).to(room).emit("e", text);
  await client.quit();
}

const [verb, url, ...rest] = process.argv.slice(2);
if (verb === "serve") serve(url, Number(rest[0]));
else if (verb === "publish") await publish(url, ...rest);
else throw new Error("serve REDIS PORT, or publish REDIS ROOM TEXT");
