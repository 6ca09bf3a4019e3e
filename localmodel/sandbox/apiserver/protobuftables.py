"""Field numbers of the Kubernetes messages that `protobuf` can decode, and the kinds they belong to.

One message per line, long ones continued on indented lines: number, JSON name and type of each field. `[T]` is a list,
`{T}` a map with string keys, `T*` a Go pointer, whose zero value is kept. The JSON name `-` is an embedded message.
Numbers are those of the generated.proto files of k8s.io/api, which never change.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message; `wire` is the wire type that its values have."""

    name: str
    type: str
    is_list: bool = False
    is_map: bool = False
    omit_empty: bool = True

    @property
    def wire(self) -> int:
        return 0 if not self.is_map and self.type in ("int", "bool") else 2


_TEXT = """
Quantity: 1 string string
IntOrString: 1 type int*, 2 intVal int*, 3 strVal string
Timestamp: 1 seconds int, 2 nanos int
ObjectMeta: 1 name string, 2 generateName string, 3 namespace string, 4 selfLink string, 5 uid string, 6
  resourceVersion string, 7 generation int, 8 creationTimestamp time, 9 deletionTimestamp time, 10
  deletionGracePeriodSeconds int*, 11 labels {string}, 12 annotations {string}, 13 ownerReferences [OwnerReference],
  14 finalizers [string], 17 managedFields [ManagedFieldsEntry]
ManagedFieldsEntry: 1 manager string, 2 operation string, 3 apiVersion string, 4 time time, 6 fieldsType string,
  7 fieldsV1 json, 8 subresource string
RawJSON: 1 raw bytes
OwnerReference: 1 kind string, 3 name string, 4 uid string, 5 apiVersion string, 6 controller bool*, 7
  blockOwnerDeletion bool*
LabelSelector: 1 matchLabels {string}, 2 matchExpressions [LabelSelectorRequirement]
LabelSelectorRequirement: 1 key string, 2 operator string, 3 values [string]
DeleteOptions: 1 gracePeriodSeconds int*, 2 preconditions Preconditions, 3 orphanDependents bool*, 4 propagationPolicy
  string*, 5 dryRun [string], 6 ignoreStoreReadErrorWithClusterBreakingPotential bool*
Preconditions: 1 uid string*, 2 resourceVersion string*
ObjectReference: 1 kind string, 2 namespace string, 3 name string, 4 uid string, 5 apiVersion string, 6
  resourceVersion string, 7 fieldPath string
LocalObjectReference: 1 name string
TypedLocalObjectReference: 1 apiGroup string*, 2 kind string, 3 name string
Namespace: 1 metadata ObjectMeta, 2 spec NamespaceSpec, 3 status NamespaceStatus
NamespaceSpec: 1 finalizers [string]
NamespaceStatus: 1 phase string
ConfigMap: 1 metadata ObjectMeta, 2 data {string}, 3 binaryData {bytes}, 4 immutable bool*
Secret: 1 metadata ObjectMeta, 2 data {bytes}, 3 type string, 4 stringData {string}, 5 immutable bool*
ServiceAccount: 1 metadata ObjectMeta, 2 secrets [ObjectReference], 3 imagePullSecrets [LocalObjectReference], 4
  automountServiceAccountToken bool*
Service: 1 metadata ObjectMeta, 2 spec ServiceSpec, 3 status ServiceStatus
ServiceSpec: 1 ports [ServicePort], 2 selector {string}, 3 clusterIP string, 4 type string, 5 externalIPs [string], 7
  sessionAffinity string, 8 loadBalancerIP string, 9 loadBalancerSourceRanges [string], 10 externalName string, 11
  externalTrafficPolicy string, 12 healthCheckNodePort int, 13 publishNotReadyAddresses bool, 17 ipFamilyPolicy
  string*, 18 clusterIPs [string], 19 ipFamilies [string], 20 allocateLoadBalancerNodePorts bool*, 21
  loadBalancerClass string*, 22 internalTrafficPolicy string*
ServicePort: 1 name string, 2 protocol string, 3 port int, 4 targetPort intorstring*, 5 nodePort int, 6 appProtocol
  string*
ServiceStatus: 1 loadBalancer LoadBalancerStatus
LoadBalancerStatus: 1 ingress [LoadBalancerIngress]
LoadBalancerIngress: 1 ip string, 2 hostname string
ResourceQuota: 1 metadata ObjectMeta, 2 spec ResourceQuotaSpec, 3 status ResourceQuotaStatus
ResourceQuotaSpec: 1 hard {quantity}, 2 scopes [string]
ResourceQuotaStatus: 1 hard {quantity}, 2 used {quantity}
PodTemplateSpec: 1 metadata ObjectMeta, 2 spec PodSpec
PodSpec: 2 containers [Container], 3 restartPolicy string, 4 terminationGracePeriodSeconds int*, 5
  activeDeadlineSeconds int*, 6 dnsPolicy string, 7 nodeSelector {string}, 8 serviceAccountName string, 9
  serviceAccount string, 10 nodeName string, 11 hostNetwork bool, 12 hostPID bool, 13 hostIPC bool, 14 securityContext
  PodSecurityContext*, 15 imagePullSecrets [LocalObjectReference], 16 hostname string, 17 subdomain string, 19
  schedulerName string, 20 initContainers [Container], 21 automountServiceAccountToken bool*, 24 priorityClassName
  string, 25 priority int*
PodSecurityContext: 2 runAsUser int*, 3 runAsNonRoot bool*, 4 supplementalGroups [int], 5 fsGroup int*, 6 runAsGroup
  int*
Container: 1 name string, 2 image string, 3 command [string], 4 args [string], 5 workingDir string, 6 ports
  [ContainerPort], 7 env [EnvVar], 8 resources ResourceRequirements, 9 volumeMounts [VolumeMount], 13
  terminationMessagePath string, 14 imagePullPolicy string, 16 stdin bool, 17 stdinOnce bool, 18 tty bool, 20
  terminationMessagePolicy string
ContainerPort: 1 name string, 2 hostPort int, 3 containerPort int, 4 protocol string, 5 hostIP string
EnvVar: 1 name string, 2 value string
ResourceRequirements: 1 limits {quantity}, 2 requests {quantity}
VolumeMount: 1 name string, 2 readOnly bool, 3 mountPath string, 4 subPath string, 5 mountPropagation string*, 6
  subPathExpr string
Event: 1 metadata ObjectMeta, 2 involvedObject ObjectReference, 3 reason string, 4 message string, 5 source
  EventSource, 6 firstTimestamp time, 7 lastTimestamp time, 8 count int, 9 type string, 10 eventTime microtime, 12
  action string, 13 related ObjectReference, 14 reportingComponent string, 15 reportingInstance string
EventSource: 1 component string, 2 host string
Deployment: 1 metadata ObjectMeta, 2 spec DeploymentSpec, 3 status DeploymentStatus
DeploymentSpec: 1 replicas int*, 2 selector LabelSelector*, 3 template PodTemplateSpec, 4 strategy DeploymentStrategy,
  5 minReadySeconds int, 6 revisionHistoryLimit int*, 7 paused bool, 9 progressDeadlineSeconds int*
DeploymentStrategy: 1 type string, 2 rollingUpdate RollingUpdateDeployment*
RollingUpdateDeployment: 1 maxUnavailable intorstring*, 2 maxSurge intorstring*
DeploymentStatus: 1 observedGeneration int, 2 replicas int, 3 updatedReplicas int, 4 availableReplicas int, 5
  unavailableReplicas int, 7 readyReplicas int, 8 collisionCount int*, 9 terminatingReplicas int*
Job: 1 metadata ObjectMeta, 2 spec JobSpec, 3 status JobStatus
JobSpec: 1 parallelism int*, 2 completions int*, 3 activeDeadlineSeconds int*, 4 selector LabelSelector*, 5
  manualSelector bool*, 6 template PodTemplateSpec, 7 backoffLimit int*, 8 ttlSecondsAfterFinished int*, 9
  completionMode string*, 10 suspend bool*, 12 backoffLimitPerIndex int*, 13 maxFailedIndexes int*, 14
  podReplacementPolicy string*, 15 managedBy string*
JobStatus: 2 startTime time, 3 completionTime time, 4 active int, 5 succeeded int, 6 failed int, 7 completedIndexes
  string, 9 ready int*, 10 failedIndexes string*, 11 terminating int*
CronJob: 1 metadata ObjectMeta, 2 spec CronJobSpec, 3 status CronJobStatus
CronJobSpec: 1 schedule string, 2 startingDeadlineSeconds int*, 3 concurrencyPolicy string, 4 suspend bool*, 5
  jobTemplate JobTemplateSpec, 6 successfulJobsHistoryLimit int*, 7 failedJobsHistoryLimit int*, 8 timeZone string*
JobTemplateSpec: 1 metadata ObjectMeta, 2 spec JobSpec
CronJobStatus: 1 active [ObjectReference], 4 lastScheduleTime time, 5 lastSuccessfulTime time
Role: 1 metadata ObjectMeta, 2 rules [PolicyRule]
ClusterRole: 1 metadata ObjectMeta, 2 rules [PolicyRule], 3 aggregationRule AggregationRule
AggregationRule: 1 clusterRoleSelectors [LabelSelector]
PolicyRule: 1 verbs [string], 2 apiGroups [string], 3 resources [string], 4 resourceNames [string], 5 nonResourceURLs
  [string]
RoleBinding: 1 metadata ObjectMeta, 2 subjects [Subject], 3 roleRef RoleRef
ClusterRoleBinding: 1 metadata ObjectMeta, 2 subjects [Subject], 3 roleRef RoleRef
Subject: 1 kind string, 2 apiGroup string, 3 name string, 4 namespace string
RoleRef: 1 apiGroup string, 2 kind string, 3 name string
PodDisruptionBudget: 1 metadata ObjectMeta, 2 spec PodDisruptionBudgetSpec, 3 status PodDisruptionBudgetStatus
PodDisruptionBudgetSpec: 1 minAvailable intorstring*, 2 selector LabelSelector*, 3 maxUnavailable intorstring*, 4
  unhealthyPodEvictionPolicy string*
PodDisruptionBudgetStatus: 1 observedGeneration int, 2 disruptedPods {time}, 3 disruptionsAllowed int, 4
  currentHealthy int, 5 desiredHealthy int, 6 expectedPods int
Eviction: 1 metadata ObjectMeta, 2 deleteOptions DeleteOptions
PriorityClass: 1 metadata ObjectMeta, 2 value int*, 3 globalDefault bool, 4 description string, 5 preemptionPolicy
  string*
Ingress: 1 metadata ObjectMeta, 2 spec IngressSpec, 3 status IngressStatus
IngressSpec: 1 defaultBackend IngressBackend, 2 tls [IngressTLS], 3 rules [IngressRule], 4 ingressClassName string*
IngressTLS: 1 hosts [string], 2 secretName string
IngressRule: 1 host string, 2 - IngressRuleValue
IngressRuleValue: 1 http HTTPIngressRuleValue
HTTPIngressRuleValue: 1 paths [HTTPIngressPath]
HTTPIngressPath: 1 path string, 2 backend IngressBackend, 3 pathType string*
IngressBackend: 3 resource TypedLocalObjectReference, 4 service IngressServiceBackend
IngressServiceBackend: 1 name string, 2 port ServiceBackendPort
ServiceBackendPort: 1 name string, 2 number int
IngressStatus: 1 loadBalancer LoadBalancerStatus
Lease: 1 metadata ObjectMeta, 2 spec LeaseSpec
LeaseSpec: 1 holderIdentity string*, 2 leaseDurationSeconds int*, 3 acquireTime microtime, 4 renewTime microtime, 5
  leaseTransitions int*
Scale: 1 metadata ObjectMeta, 2 spec ScaleSpec, 3 status ScaleStatus
ScaleSpec: 1 replicas int*
ScaleStatus: 1 replicas int, 2 selector string
TokenRequest: 1 metadata ObjectMeta, 2 spec TokenRequestSpec, 3 status TokenRequestStatus
TokenRequestSpec: 1 audiences [string], 3 boundObjectRef BoundObjectReference, 4 expirationSeconds int*
BoundObjectReference: 1 kind string, 2 apiVersion string, 3 name string, 4 uid string
TokenRequestStatus: 1 token string, 2 expirationTimestamp time
TokenReview: 1 metadata ObjectMeta, 2 spec TokenReviewSpec, 3 status TokenReviewStatus
TokenReviewSpec: 1 token string, 2 audiences [string]
TokenReviewStatus: 1 authenticated bool, 2 user UserInfo, 3 error string, 4 audiences [string]
UserInfo: 1 username string, 2 uid string, 3 groups [string]
SelfSubjectReview: 1 metadata ObjectMeta, 2 status SelfSubjectReviewStatus
SelfSubjectReviewStatus: 1 userInfo UserInfo
ResourceAttributes: 1 namespace string, 2 verb string, 3 group string, 4 version string, 5 resource string, 6
  subresource string, 7 name string
NonResourceAttributes: 1 path string, 2 verb string
SubjectAccessReview: 1 metadata ObjectMeta, 2 spec SubjectAccessReviewSpec, 3 status SubjectAccessReviewStatus
LocalSubjectAccessReview: 1 metadata ObjectMeta, 2 spec SubjectAccessReviewSpec, 3 status SubjectAccessReviewStatus
SubjectAccessReviewSpec: 1 resourceAttributes ResourceAttributes, 2 nonResourceAttributes NonResourceAttributes, 3
  user string, 4 groups [string], 6 uid string
SelfSubjectAccessReview: 1 metadata ObjectMeta, 2 spec SelfSubjectAccessReviewSpec, 3 status SubjectAccessReviewStatus
SelfSubjectAccessReviewSpec: 1 resourceAttributes ResourceAttributes, 2 nonResourceAttributes NonResourceAttributes
SubjectAccessReviewStatus: 1 allowed bool, 2 reason string, 3 evaluationError string, 4 denied bool
SelfSubjectRulesReview: 1 metadata ObjectMeta, 2 spec SelfSubjectRulesReviewSpec, 3 status SubjectRulesReviewStatus
SelfSubjectRulesReviewSpec: 1 namespace string
SubjectRulesReviewStatus: 3 incomplete bool, 4 evaluationError string
"""

_GROUPS = {
    "v1": "Namespace ConfigMap Secret ServiceAccount Service ResourceQuota Event DeleteOptions",
    "meta.k8s.io/v1": "DeleteOptions",
    "apps/v1": "Deployment",
    "batch/v1": "Job CronJob",
    "rbac.authorization.k8s.io/v1": "Role ClusterRole RoleBinding ClusterRoleBinding",
    "policy/v1": "PodDisruptionBudget Eviction",
    "scheduling.k8s.io/v1": "PriorityClass",
    "networking.k8s.io/v1": "Ingress",
    "coordination.k8s.io/v1": "Lease",
    "autoscaling/v1": "Scale",
    "authentication.k8s.io/v1": "TokenRequest TokenReview SelfSubjectReview",
    "authorization.k8s.io/v1": (
        "SubjectAccessReview LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview"
    ),
}

_FIELD = re.compile(r"^(\d+) (\S+) ([\[{]?)(\w+)[\]}]?(\*?)$")


def _parse(text: str) -> dict[str, dict[int, Field]]:
    messages = {}
    for line in text.replace("\n  ", " ").strip().splitlines():
        name, _, fields = line.partition(": ")
        table = {}
        for part in fields.split(", "):
            match = _FIELD.match(part)
            if match is None:
                raise ValueError(f"{part!r} of {name} is not a field")
            number, json_name, bracket, type_, pointer = match.groups()
            table[int(number)] = Field(
                "" if json_name == "-" else json_name, type_, bracket == "[", bracket == "{", not pointer
            )
        messages[name] = table
    return messages


MESSAGES = _parse(_TEXT)
KINDS = {(api_version, kind): kind for api_version, kinds in _GROUPS.items() for kind in kinds.split()}
# Every group version has DeleteOptions, too.
KINDS |= {(api_version, "DeleteOptions"): "DeleteOptions" for api_version in _GROUPS}
