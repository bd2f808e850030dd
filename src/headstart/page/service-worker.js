/**
 * Keeps the files of this folder, so that the page works without a connection. `files.js` names them with their hashes,
 * and their version, which changes with any of them; then all are asked for again. While only some of them have been
 * replaced, a hash is wrong, nothing is kept, and the version before is used.
 */

importScripts('files.js');

const { version, names } = self.FILES;
const CACHE = `headstart ${self.registration.scope} `; // the space: another page may be in a folder below
const KEPT = CACHE + version;

self.addEventListener('install', (event) => {
  const fetched = Object.entries(names).map(([name, integrity]) => new Request(name, { cache: 'no-cache', integrity }));
  event.waitUntil(caches.open(KEPT).then((cache) => cache.addAll(fetched)).then(() => self.skipWaiting()));
});

self.addEventListener('activate', (event) => {
  const drop = async () => {
    const old = (await caches.keys()).filter((name) => name.startsWith(CACHE) && name !== KEPT);
    await Promise.all(old.map((name) => caches.delete(name)));
    await self.clients.claim();
  };
  event.waitUntil(drop());
});

self.addEventListener('fetch', (event) => {
  if (event.request.method !== 'GET') return;
  const answer = async () => {
    const cache = await caches.open(KEPT);
    return (await cache.match(event.request, { ignoreSearch: true })) ?? fetch(event.request);
  };
  event.respondWith(answer());
});
