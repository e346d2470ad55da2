// Creates an environment, deploys to it, watches until that is finished, rolls it back, and deletes the environment.
//
//   npm install --no-package-lock
//   HEADGATE_ADDRESS=unix:/run/headgate/headgate.sock node deploy.js NAME SOURCE TARGET
//
// The protocol is read from the .proto files as they are; nothing is generated.
'use strict';

const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const { loadSync } = require('@grpc/proto-loader');

const PROTO = path.join(__dirname, '../../../proto');
const protos = loadSync(
  ['headgate/v1/environment.proto', 'headgate/v1/deployment.proto', path.join(__dirname, '../details.proto')],
  { includeDirs: [PROTO], keepCase: true, longs: String, enums: String, defaults: true },
);
const { headgate, google } = grpc.loadPackageDefinition(protos);

const SECONDS = 10;
const RUNNING = ['DEPLOYMENT_STATUS_PENDING', 'DEPLOYMENT_STATUS_IN_PROGRESS'];

const deadline = (seconds = SECONDS) => ({ deadline: Date.now() + seconds * 1000 });

/** Calls one method of a client; resolves to its answer. */
const call = (client, method, request) =>
  new Promise((resolve, reject) => {
    client[method](request, deadline(), (error, answer) => (error ? reject(error) : resolve(answer)));
  });

/** What an error of Headgate's says beyond its code: the reason, the hint, every fault of the request. */
function detailsOf(error) {
  const found = { code: grpc.status[error.code], message: error.details, reason: '', hint: '', faults: [] };
  const [raw] = error.metadata?.get('grpc-status-details-bin') ?? [];
  if (!raw) return found;
  for (const { type_url: type, value } of protos['google.rpc.Status'].deserialize(raw).details) {
    if (type.endsWith('/google.rpc.ErrorInfo')) {
      const info = protos['google.rpc.ErrorInfo'].deserialize(value);
      found.reason = info.reason;
      found.hint = info.metadata.hint ?? '';
    } else if (type.endsWith('/google.rpc.BadRequest')) {
      found.faults = protos['google.rpc.BadRequest'].deserialize(value).field_violations;
    }
  }
  return found;
}

/** Watches one deployment; resolves to it when it is finished. */
const finished = (deployments, deploymentId) =>
  new Promise((resolve, reject) => {
    const events = deployments.WatchDeployments({ deployment_id: deploymentId }, deadline(60));
    let newest;
    events.on('data', ({ revision, deployment }) => {
      if (!deployment) return; // the state at the beginning is complete
      newest = deployment;
      console.log(`watched ${deployment.deployment_id} ${deployment.status} revision=${revision}`);
    });
    events.on('error', reject);
    events.on('end', () =>
      !newest || RUNNING.includes(newest.status) ? reject(new Error('the watch ended too early')) : resolve(newest),
    );
  });

function expectSuccess(deployment) {
  if (deployment.status !== 'DEPLOYMENT_STATUS_SUCCESS') {
    throw new Error(`${deployment.deployment_id} did not succeed: ${deployment.error?.message}`);
  }
}

async function main([name, source, target]) {
  const address = process.env.HEADGATE_ADDRESS ?? 'unix:/run/headgate/headgate.sock';
  const credentials = grpc.credentials.createInsecure();
  const environments = new headgate.v1.EnvironmentService(address, credentials);
  const deployments = new headgate.v1.DeploymentService(address, credentials);

  // Everything wrong with a request comes in one answer.
  await call(environments, 'CreateEnvironment', { environment: { name, config_path: 'relative' } }).catch((error) => {
    const { code, reason, faults } = detailsOf(error);
    console.log(`refused ${code} ${reason}`);
    for (const { field, description } of faults) console.log(`fault ${field}: ${description}`);
  });

  const environment = {
    name,
    type: 'ENVIRONMENT_TYPE_STAGING',
    config_path: target,
    sources: [source],
    variables: { LANGUAGE: 'node' },
    auto_sync: false,
  };
  const request_id = `${name}-${Date.now()}`; // sent again after a failure, it would give the first answer
  const created = await call(environments, 'CreateEnvironment', { environment, request_id });
  console.log(`created ${created.environment.name}`);

  const asked = (await call(deployments, 'Deploy', { environment: name, reason: 'an example' })).deployment;
  expectSuccess(await finished(deployments, asked.deployment_id));

  const undo = (await call(deployments, 'Rollback', { deployment_id: asked.deployment_id })).deployment;
  expectSuccess(await finished(deployments, undo.deployment_id));

  // A refusal says why, and what to do.
  await call(deployments, 'Rollback', { deployment_id: asked.deployment_id }).catch((error) => {
    const { code, reason, message, hint } = detailsOf(error);
    console.log(`refused ${code} ${reason}\n  ${message}\n  try: ${hint}`);
  });

  await call(environments, 'DeleteEnvironment', { name });
  console.log(`deleted ${name}`);
  environments.close();
  deployments.close();
}

main(process.argv.slice(2)).catch((error) => {
  const { message, hint } = detailsOf(error);
  console.error(`${message ?? error.stack}${hint ? `\n  try: ${hint}` : ''}`);
  process.exitCode = 1;
});
