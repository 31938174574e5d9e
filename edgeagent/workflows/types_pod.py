"""The structures of Kubernetes that a workflow passes to its pods and claims, in the notation of `types`."""

from __future__ import annotations

TEXTS: dict[str, str] = {
    "Affinity": "NodeAffinity: nodeAffinity; PodAffinity: podAffinity; PodAffinity: podAntiAffinity",
    "Amounts": "{quantity}: limits requests",
    "AwsDiskVolume": "text: fsType volumeID; int: partition; bool: readOnly",
    "AzureDiskVolume": "text: cachingMode diskName diskURI fsType kind; bool: readOnly",
    "AzureFileVolume": "bool: readOnly; text: secretName shareName",
    "CSIVolume": "text: driver fsType; Named: nodePublishSecretRef; bool: readOnly; {text}: volumeAttributes",
    "Capabilities": "[text]: add drop",
    "CephFSVolume": "[text]: monitors; text: path secretFile user; bool: readOnly; Named: secretRef",
    "CinderVolume": "text: fsType volumeID; bool: readOnly; Named: secretRef",
    "Claim": "text: apiVersion kind; Metadata: metadata; ClaimSpec: spec; object: status",
    "ClaimSpec": """
        [text]: accessModes; LocalRef: dataSource; ObjectRef: dataSourceRef; Amounts: resources; LabelSelector:
        selector; text: storageClassName volumeAttributesClassName volumeMode volumeName
    """,
    "ClaimTemplate": "Metadata: metadata; ClaimSpec: spec",
    "ClaimVolume": "text: claimName; bool: readOnly",
    "ClusterTrustBundleProjection": "LabelSelector: labelSelector; text: name path signerName; bool: optional",
    "ConfigMapVolume": "int: defaultMode; [KeyToPath]: items; text: name; bool: optional",
    "ContainerPort": "int: containerPort hostPort; text: hostIP name protocol",
    "ContainerResizePolicy": "text: resourceName restartPolicy",
    "ContainerRestartRule": "text: action; ContainerRestartRuleOnExitCodes: exitCodes",
    "ContainerRestartRuleOnExitCodes": "text: operator; [int]: values",
    "DnsConfig": "[text]: nameservers searches; [Pair]: options",
    "DownwardProjection": "[DownwardVolumeFile]: items",
    "DownwardVolume": "int: defaultMode; [DownwardVolumeFile]: items",
    "DownwardVolumeFile": """
        ObjectFieldSelector: fieldRef; int: mode; text: path; ResourceFieldSelector: resourceFieldRef
    """,
    "EmptyDirVolume": "text: medium; quantity: sizeLimit",
    "EnvFromSource": "Source: configMapRef; text: prefix; Source: secretRef",
    "EnvSource": """
        KeyOf: configMapKeyRef; ObjectFieldSelector: fieldRef; FileKeySelector: fileKeyRef; ResourceFieldSelector:
        resourceFieldRef; KeyOf: secretKeyRef
    """,
    "EphemeralVolume": "ClaimTemplate: volumeClaimTemplate",
    "ExecAction": "[text]: command",
    "FCVolume": "text: fsType; int: lun; bool: readOnly; [text]: targetWWNs wwids",
    "FileKeySelector": "text: key path volumeName; bool: optional",
    "FilesOf": "[KeyToPath]: items; text: name; bool: optional",
    "FlexVolume": "text: driver fsType; {text}: options; bool: readOnly; Named: secretRef",
    "FlockerVolume": "text: datasetName datasetUUID",
    "GRPCAction": "int: port; text: service",
    "GceDiskVolume": "text: fsType pdName; int: partition; bool: readOnly",
    "GitRepoVolume": "text: directory repository revision",
    "GlusterfsVolume": "text: endpoints path; bool: readOnly",
    "HostAlias": "[text]: hostnames; text: ip",
    "HostPathVolume": "text: path type",
    "HttpGet": "text: host path scheme; [Pair]: httpHeaders; int or text: port",
    "ISCSIVolume": """
        bool: chapAuthDiscovery chapAuthSession readOnly; text: fsType initiatorName iqn iscsiInterface
        targetPortal; int: lun; [text]: portals; Named: secretRef
    """,
    "ImageVolume": "text: pullPolicy reference",
    "KeyOf": "text: key name; bool: optional",
    "KeyToPath": "text: key path; int: mode",
    "Lifecycle": "LifecycleHandler: postStart preStop; text: stopSignal",
    "LifecycleHandler": "ExecAction: exec; HttpGet: httpGet; SleepAction: sleep; TCPSocketAction: tcpSocket",
    "LocalRef": "text: apiGroup kind name",
    "ManagedFieldsEntry": "text: apiVersion fieldsType manager operation subresource; object: fieldsV1; time: time",
    "NFSVolume": "text: path server; bool: readOnly",
    "Named": "text: name",
    "NodeAffinity": """
        [PreferredSchedulingTerm]: preferredDuringSchedulingIgnoredDuringExecution; NodeSelector:
        requiredDuringSchedulingIgnoredDuringExecution
    """,
    "NodeSelector": "[NodeSelectorTerm]: nodeSelectorTerms",
    "NodeSelectorTerm": "[Requirement]: matchExpressions matchFields",
    "ObjectFieldSelector": "text: apiVersion fieldPath",
    "ObjectRef": "text: apiGroup kind name namespace",
    "OwnerReference": "text: apiVersion kind name uid; bool: blockOwnerDeletion controller",
    "Pair": "text: name value",
    "PhotonPersistentDiskVolume": "text: fsType pdID",
    "PodAffinity": """
        [WeightedPodAffinityTerm]: preferredDuringSchedulingIgnoredDuringExecution; [PodAffinityTerm]:
        requiredDuringSchedulingIgnoredDuringExecution
    """,
    "PodAffinityTerm": """
        LabelSelector: labelSelector namespaceSelector; [text]: matchLabelKeys mismatchLabelKeys namespaces; text:
        topologyKey
    """,
    "PodCertificateProjection": """
        text: certificateChainPath credentialBundlePath keyPath keyType signerName; int: maxExpirationSeconds;
        {text}: userAnnotations
    """,
    "PodDisruptionBudgetSpec": """
        int or text: maxUnavailable minAvailable; LabelSelector: selector; text: unhealthyPodEvictionPolicy
    """,
    "PodResourceClaim": "text: name resourceClaimName resourceClaimTemplateName",
    "PodSecurityContext": """
        Profile: appArmorProfile; int: fsGroup runAsGroup runAsUser; text: fsGroupChangePolicy seLinuxChangePolicy
        supplementalGroupsPolicy; bool: runAsNonRoot; SeLinux: seLinuxOptions; Profile: seccompProfile; [int]:
        supplementalGroups; [Pair]: sysctls; WindowsOptions: windowsOptions
    """,
    "PortworxVolume": "text: fsType volumeID; bool: readOnly",
    "PreferredSchedulingTerm": "NodeSelectorTerm: preference; int: weight",
    "Probe": """
        ExecAction: exec; int: failureThreshold initialDelaySeconds periodSeconds successThreshold
        terminationGracePeriodSeconds timeoutSeconds; GRPCAction: grpc; HttpGet: httpGet; TCPSocketAction: tcpSocket
    """,
    "Profile": "text: localhostProfile type",
    "ProjectedVolume": "int: defaultMode; [VolumeProjection]: sources",
    "QuobyteVolume": "text: group registry tenant user volume; bool: readOnly",
    "RBDVolume": "text: fsType image keyring pool user; [text]: monitors; bool: readOnly; Named: secretRef",
    "ResourceClaim": "text: name request",
    "ResourceFieldSelector": "text: containerName resource; quantity: divisor",
    "ScaleIOVolume": """
        text: fsType gateway protectionDomain storageMode storagePool system volumeName; bool: readOnly sslEnabled;
        Named: secretRef
    """,
    "SeLinux": "text: level role type user",
    "SecretVolume": "int: defaultMode; [KeyToPath]: items; bool: optional; text: secretName",
    "SecurityContext": """
        bool: allowPrivilegeEscalation privileged readOnlyRootFilesystem runAsNonRoot; Profile: appArmorProfile;
        Capabilities: capabilities; text: procMount; int: runAsGroup runAsUser; SeLinux: seLinuxOptions; Profile:
        seccompProfile; WindowsOptions: windowsOptions
    """,
    "ServiceAccountTokenProjection": "text: audience path; int: expirationSeconds",
    "SleepAction": "int: seconds",
    "Source": "text: name; bool: optional",
    "StorageOSVolume": "text: fsType volumeName volumeNamespace; bool: readOnly; Named: secretRef",
    "TCPSocketAction": "text: host; int or text: port",
    "Toleration": "text: effect key operator value; int: tolerationSeconds",
    "Volume": """
        AwsDiskVolume: awsElasticBlockStore; AzureDiskVolume: azureDisk; AzureFileVolume: azureFile; CephFSVolume:
        cephfs; CinderVolume: cinder; ConfigMapVolume: configMap; CSIVolume: csi; DownwardVolume: downwardAPI;
        EmptyDirVolume: emptyDir; EphemeralVolume: ephemeral; FCVolume: fc; FlexVolume: flexVolume; FlockerVolume:
        flocker; GceDiskVolume: gcePersistentDisk; GitRepoVolume: gitRepo; GlusterfsVolume: glusterfs;
        HostPathVolume: hostPath; ImageVolume: image; ISCSIVolume: iscsi; text: name; NFSVolume: nfs; ClaimVolume:
        persistentVolumeClaim; PhotonPersistentDiskVolume: photonPersistentDisk; PortworxVolume: portworxVolume;
        ProjectedVolume: projected; QuobyteVolume: quobyte; RBDVolume: rbd; ScaleIOVolume: scaleIO; SecretVolume:
        secret; StorageOSVolume: storageos; VsphereVirtualDiskVolume: vsphereVolume
    """,
    "VolumeDevice": "text: devicePath name",
    "VolumeProjection": """
        ClusterTrustBundleProjection: clusterTrustBundle; FilesOf: configMap; DownwardProjection: downwardAPI;
        PodCertificateProjection: podCertificate; FilesOf: secret; ServiceAccountTokenProjection:
        serviceAccountToken
    """,
    "VsphereVirtualDiskVolume": "text: fsType storagePolicyID storagePolicyName volumePath",
    "WeightedPodAffinityTerm": "PodAffinityTerm: podAffinityTerm; int: weight",
    "WindowsOptions": "text: gmsaCredentialSpec gmsaCredentialSpecName runAsUserName; bool: hostProcess",
}  # fmt: skip
