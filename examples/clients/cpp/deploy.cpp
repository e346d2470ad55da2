// Creates an environment, deploys to it, watches until that is finished, rolls it back, and deletes the environment.
//
//   make                       (Debian: g++ libgrpc++-dev protobuf-compiler-grpc)
//   HEADGATE_ADDRESS=unix:/run/headgate/headgate.sock build/deploy NAME SOURCE TARGET

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>

#include <grpcpp/grpcpp.h>

#include "details.pb.h"
#include "headgate/v1/deployment.grpc.pb.h"
#include "headgate/v1/environment.grpc.pb.h"

namespace hg = headgate::v1;

namespace {

constexpr auto kSeconds = std::chrono::seconds(10);

// Every call has a deadline.
void limit(grpc::ClientContext& context, std::chrono::seconds seconds = kSeconds) {
  context.set_deadline(std::chrono::system_clock::now() + seconds);
}

// What an error of Headgate's says beyond its code: the reason, every fault of the request, what to do.
void tell(const grpc::Status& status) {
  std::string reason, hint, faults;
  google::rpc::Status sent;
  if (sent.ParseFromString(status.error_details())) {
    for (const auto& detail : sent.details()) {
      google::rpc::ErrorInfo info;
      google::rpc::BadRequest bad;
      if (detail.UnpackTo(&info)) {
        reason = info.reason();
        if (info.metadata().count("hint")) hint = "  try: " + info.metadata().at("hint") + "\n";
      } else if (detail.UnpackTo(&bad)) {
        for (const auto& fault : bad.field_violations())
          faults += "fault " + fault.field() + ": " + fault.description() + "\n";
      }
    }
  }
  std::cout << "refused " << status.error_code() << " " << reason << "\n  " << status.error_message() << "\n"
            << faults << hint;
}

void check(const grpc::Status& status) {
  if (status.ok()) return;
  tell(status);
  throw std::runtime_error(status.error_message());
}

class Client {
 public:
  explicit Client(const std::string& address) {
    auto channel = grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
    environments_ = hg::EnvironmentService::NewStub(channel);
    deployments_ = hg::DeploymentService::NewStub(channel);
  }

  grpc::Status create(const hg::CreateEnvironmentRequest& request) {
    grpc::ClientContext context;
    limit(context);
    hg::CreateEnvironmentResponse answer;
    return environments_->CreateEnvironment(&context, request, &answer);
  }

  void remove(const std::string& name) {
    grpc::ClientContext context;
    limit(context);
    hg::DeleteEnvironmentRequest request;
    request.set_name(name);
    hg::DeleteEnvironmentResponse answer;
    check(environments_->DeleteEnvironment(&context, request, &answer));
  }

  std::string deploy(const std::string& name) {
    grpc::ClientContext context;
    limit(context);
    hg::DeployRequest request;
    request.set_environment(name);
    request.set_reason("an example");
    hg::DeployResponse answer;
    check(deployments_->Deploy(&context, request, &answer));
    return answer.deployment().deployment_id();
  }

  grpc::Status rollback(const std::string& deployment_id, std::string* undo) {
    grpc::ClientContext context;
    limit(context);
    hg::RollbackRequest request;
    request.set_deployment_id(deployment_id);
    hg::RollbackResponse answer;
    const auto status = deployments_->Rollback(&context, request, &answer);
    *undo = answer.deployment().deployment_id();
    return status;
  }

  // Watches one deployment until it is finished; it must succeed.
  void follow(const std::string& deployment_id) {
    grpc::ClientContext context;
    limit(context, std::chrono::seconds(60));
    hg::WatchDeploymentsRequest request;
    request.set_deployment_id(deployment_id);
    auto events = deployments_->WatchDeployments(&context, request);
    hg::WatchDeploymentsResponse event;
    auto newest = hg::DEPLOYMENT_STATUS_UNSPECIFIED;
    while (events->Read(&event)) {
      if (!event.has_deployment()) continue;  // the state at the beginning is complete
      newest = event.deployment().status();
      std::cout << "watched " << deployment_id << " " << hg::DeploymentStatus_Name(newest)
                << " revision=" << event.revision() << "\n";
    }
    check(events->Finish());
    if (newest != hg::DEPLOYMENT_STATUS_SUCCESS) throw std::runtime_error(deployment_id + " did not succeed");
  }

 private:
  std::unique_ptr<hg::EnvironmentService::Stub> environments_;
  std::unique_ptr<hg::DeploymentService::Stub> deployments_;
};

void run(const std::string& name, const std::string& source, const std::string& target) {
  const char* address = std::getenv("HEADGATE_ADDRESS");
  Client client(address ? address : "unix:/run/headgate/headgate.sock");

  // Everything wrong with a request comes in one answer.
  hg::CreateEnvironmentRequest wrong;
  wrong.mutable_environment()->set_name(name);
  wrong.mutable_environment()->set_config_path("relative");
  tell(client.create(wrong));

  hg::CreateEnvironmentRequest request;
  // Sent again after a failure, it would give the first answer.
  request.set_request_id(name + "-" + std::to_string(std::chrono::system_clock::now().time_since_epoch().count()));
  auto& environment = *request.mutable_environment();
  environment.set_name(name);
  environment.set_type(hg::ENVIRONMENT_TYPE_STAGING);
  environment.set_config_path(target);
  environment.add_sources(source);
  (*environment.mutable_variables())["LANGUAGE"] = "C++";
  environment.set_auto_sync(false);
  check(client.create(request));
  std::cout << "created " << name << "\n";

  const auto deployed = client.deploy(name);
  client.follow(deployed);

  std::string undo;
  check(client.rollback(deployed, &undo));
  client.follow(undo);

  // A refusal says why, and what to do.
  tell(client.rollback(deployed, &undo));

  client.remove(name);
  std::cout << "deleted " << name << "\n";
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 4) {
    std::cerr << "usage: deploy NAME SOURCE TARGET\n";
    return 2;
  }
  try {
    run(arguments[1], arguments[2], arguments[3]);
  } catch (const std::exception& error) {
    std::cerr << "deploy: " << error.what() << "\n";
    return 1;
  }
  return 0;
}
