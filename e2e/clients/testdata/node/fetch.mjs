// Fetches with the fetch of Node.js, which does not look at the environment for a proxy by itself before Node.js 24.
const [realm, how] = process.argv.slice(2)
if (how === 'undici') {
  const { EnvHttpProxyAgent, setGlobalDispatcher } = await import('undici')
  setGlobalDispatcher(new EnvHttpProxyAgent())
}
const response = await fetch(`https://web.${realm}.test/hello`)
console.log(response.status, await response.text())
process.exitCode = response.ok ? 0 : 1
