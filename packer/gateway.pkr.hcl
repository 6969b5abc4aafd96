# Builds an image for EC2 that already contains the programs that machines otherwise fetch at boot. See docs/images.md.
#
#   npm run artifacts -- --out artifacts
#   packer init packer && packer build -var artifacts=artifacts -var region=us-east-1 packer

packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.3.2, < 2.0.0"
    }
  }
}

variable "artifacts" {
  type        = string
  description = "The folder that `npm run artifacts` wrote."
}

variable "region" {
  type        = string
  description = "The region in which the image is built."
}

variable "instance_type" {
  type        = string
  default     = "t3.small"
  description = "The instance type that builds the image; x86-64."
}

variable "subnet_id" {
  type        = string
  default     = null
  description = "The subnet in which the image is built, if not in the default VPC."
}

locals {
  manifest = jsondecode(file("${var.artifacts}/artifacts.json"))
  sums     = { for artifact in local.manifest.artifacts : artifact.name => artifact.sha256 }
  folder   = "/tmp/artifacts"
  node     = "${local.folder}/${local.sums["node"]}/node"
  boot     = "${local.folder}/${local.sums["boot.cjs"]}/boot.cjs"
}

source "amazon-ebs" "gateway" {
  # The same artifacts give the same name. Packer does not build a second image with that name.
  ami_name        = "gateway-${substr(filesha256("${var.artifacts}/artifacts.json"), 0, 16)}"
  ami_description = "Debian 12 with the programs of the gateway's machines; no configuration and no secrets"
  region          = var.region
  instance_type   = var.instance_type
  subnet_id       = var.subnet_id
  ssh_username    = "admin"
  encrypt_boot    = true
  imds_support    = "v2.0"

  metadata_options {
    http_endpoint = "enabled"
    http_tokens   = "required"
  }

  source_ami_filter {
    # Debian's own account: https://wiki.debian.org/Cloud/AmazonEC2Image/Bookworm
    owners      = ["136693071363"]
    most_recent = true
    filters = {
      name                = "debian-12-amd64-*"
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
  }
}

build {
  sources = ["source.amazon-ebs.gateway"]

  provisioner "shell" {
    inline = ["cloud-init status --wait", "mkdir -p ${local.folder}"]
  }

  provisioner "file" {
    source      = "${var.artifacts}/"
    destination = local.folder
  }

  # The boot program verifies each file and puts it where it belongs.
  provisioner "shell" {
    inline = [
      "chmod 0755 ${local.node}",
      "sudo ${local.node} ${local.boot} bake ${local.folder}",
      "rm -rf ${local.folder}",
      "sudo cloud-init clean --logs",
      "sudo truncate --size=0 /etc/machine-id",
    ]
  }
}
