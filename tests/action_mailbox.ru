# A Rails application that only takes mail: the relay ingress of Action Mailbox, as an application would have it.
# Each message that it has taken is a file below `kept`, in the working directory.
require "fileutils"
require "rails"
require "active_record/railtie"
require "active_storage/engine"
require "action_controller/railtie"
require "action_mailbox/engine"

HERE = Dir.pwd
ENV["DATABASE_URL"] = "sqlite3:#{HERE}/database?timeout=20000"
FileUtils.mkdir_p("#{HERE}/kept")

class Application < Rails::Application
  config.root = HERE
  config.load_defaults Rails::VERSION::STRING.to_f
  config.eager_load = false
  config.logger = Logger.new("#{HERE}/log")
  config.secret_key_base = "x" * 64
  config.active_job.queue_adapter = :inline
  config.active_storage.service = :local
  config.active_storage.service_configurations = {
    "local" => { "service" => "Disk", "root" => "#{HERE}/storage" }
  }
  config.action_mailbox.ingress = :relay
  config.action_mailbox.incinerate = false
end
Application.initialize!

ActiveRecord::Schema.verbose = false
[ActiveStorage::Engine, ActionMailbox::Engine].each do |engine|
  ActiveRecord::MigrationContext.new(engine.root.join("db/migrate").to_s, ActiveRecord::SchemaMigration).migrate
end

class ApplicationMailbox < ActionMailbox::Base
  routing all: :keep
end

class KeepMailbox < ApplicationMailbox
  def process
    File.binwrite("#{HERE}/kept/#{inbound_email.id}", inbound_email.source)
  end
end

run Application
